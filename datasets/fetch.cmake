# Downloads the full Fashion-MNIST (30 MB) and checks it:
#
#     cmake -P datasets/fetch.cmake                      into datasets/cache/fashion-mnist
#     cmake -DTO=DIR -P datasets/fetch.cmake             into DIR/fashion-mnist, to be named in TAPESTRY_DATA
#     cmake -DFROM=URL -P datasets/fetch.cmake           from a mirror
#
# A file that is there and right is kept; a file that is wrong is never left under its name.
cmake_minimum_required(VERSION 3.22)
if(NOT TO)
  set(TO ${CMAKE_CURRENT_LIST_DIR}/cache)
endif()
if(NOT FROM)
  set(FROM http://fashion-mnist.s3-website.eu-central-1.amazonaws.com)
endif()
get_filename_component(folder ${TO}/fashion-mnist ABSOLUTE)

set(train-images-idx3-ubyte.gz b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7)
set(train-labels-idx1-ubyte.gz 0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056)
set(t10k-images-idx3-ubyte.gz cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa)
set(t10k-labels-idx1-ubyte.gz 8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05)

foreach(name train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz t10k-images-idx3-ubyte.gz
             t10k-labels-idx1-ubyte.gz)
  set(hash "")
  if(EXISTS ${folder}/${name})
    file(SHA256 ${folder}/${name} hash)
  endif()
  if(hash STREQUAL "${${name}}")
    message(STATUS "${name}: already there")
    continue()
  endif()
  message(STATUS "${name}: downloading")
  file(DOWNLOAD ${FROM}/${name} ${folder}/${name}.part STATUS status INACTIVITY_TIMEOUT 60)
  list(GET status 0 code)
  list(GET status 1 reason)
  if(NOT code EQUAL 0)
    file(REMOVE ${folder}/${name}.part)
    message(FATAL_ERROR "${FROM}/${name} cannot be downloaded: ${reason}\n"
                        "Try again, or: apt-get install dataset-fashion-mnist")
  endif()
  file(SHA256 ${folder}/${name}.part hash)
  if(NOT hash STREQUAL "${${name}}")
    file(REMOVE ${folder}/${name}.part)
    message(FATAL_ERROR "${FROM}/${name} is not the file it should be: its SHA-256 is ${hash}, "
                        "expected was ${${name}}")
  endif()
  file(RENAME ${folder}/${name}.part ${folder}/${name})
endforeach()
message(STATUS "Fashion-MNIST is in ${folder}")
