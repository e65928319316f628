# Where the libraries come from: the system's package if there is one that is new enough, else a
# download pinned to the commit of a release. Git verifies what it downloads by that commit.
#
#   TAPESTRY_FETCH=auto     what the text above says (the default)
#   TAPESTRY_FETCH=off      only system packages; a missing one is an error that names its package
#   TAPESTRY_FETCH=always   never look at the system; useful to try the pins
#
# Without a network, -DFETCHCONTENT_SOURCE_DIR_HWY=/path (and so on for NLOHMANN_JSON, DOCTEST, CLI11,
# STB) takes a source tree from this machine instead of downloading it.
set(TAPESTRY_FETCH "auto" CACHE STRING "Missing libraries: auto downloads them, off refuses, always ignores the system's")
set_property(CACHE TAPESTRY_FETCH PROPERTY STRINGS auto off always)
if(NOT TAPESTRY_FETCH MATCHES "^(auto|off|always)$")
  message(FATAL_ERROR "TAPESTRY_FETCH must be auto, off or always, but is \"${TAPESTRY_FETCH}\"")
endif()

include(FetchContent)

function(tapestry_missing what apt)
  message(FATAL_ERROR "${what} is missing, and TAPESTRY_FETCH=off forbids to download it.\n"
          "  Debian, Ubuntu: apt-get install ${apt}\n"
          "  or allow the download: cmake -DTAPESTRY_FETCH=auto")
endfunction()

# tapestry_dependency(hwy 1.0.3 libhwy-dev REPOSITORY url COMMIT 40-digits) is a macro because
# find_package defines imported targets and variables for the directory that calls it.
macro(tapestry_dependency name floor apt)
  cmake_parse_arguments(pin "" "REPOSITORY;COMMIT" "" ${ARGN})
  set(tapestry_${name}_found FALSE)
  if(NOT TAPESTRY_FETCH STREQUAL "always")
    find_package(${name} ${floor} CONFIG QUIET)
    set(tapestry_${name}_found ${${name}_FOUND})
  endif()
  if(tapestry_${name}_found)
    message(STATUS "${name}: system ${${name}_VERSION}")
  elseif(TAPESTRY_FETCH STREQUAL "off")
    tapestry_missing("${name} ${floor} or newer" ${apt})
  else()
    message(STATUS "${name}: downloading ${pin_REPOSITORY} at ${pin_COMMIT}")
    FetchContent_Declare(${name} GIT_REPOSITORY ${pin_REPOSITORY} GIT_TAG ${pin_COMMIT})
    FetchContent_MakeAvailable(${name})
    # No warnings from other people's headers, as with system packages.
    get_target_property(tapestry_directories ${name} INTERFACE_INCLUDE_DIRECTORIES)
    set_target_properties(${name} PROPERTIES INTERFACE_SYSTEM_INCLUDE_DIRECTORIES
                                             "${tapestry_directories}")
  endif()
endmacro()

# Nothing of these projects but their libraries. The floors are the versions of Debian 12; the pins are
# newer, because CMake 4 refuses what the Debian versions of doctest and nlohmann_json ask for.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

set(HWY_ENABLE_TESTS OFF CACHE BOOL "" FORCE)
set(HWY_ENABLE_EXAMPLES OFF CACHE BOOL "" FORCE)
set(HWY_ENABLE_CONTRIB OFF CACHE BOOL "" FORCE)  # contrib/math is headers only and comes along
set(HWY_ENABLE_INSTALL ${TAPESTRY_INSTALL} CACHE BOOL "" FORCE)  # a static library needs it at link time
tapestry_dependency(hwy 1.0.3 libhwy-dev  # 1.4.0
                    REPOSITORY https://github.com/google/highway.git
                    COMMIT 2607d3b5b0113992fe84d3848859eae13b3b52c1)
if(TARGET hwy AND NOT TARGET hwy::hwy)
  add_library(hwy::hwy ALIAS hwy)
endif()

set(JSON_BuildTests OFF CACHE BOOL "" FORCE)
tapestry_dependency(nlohmann_json 3.11.2 nlohmann-json3-dev  # 3.12.0
                    REPOSITORY https://github.com/nlohmann/json.git
                    COMMIT 55f93686c01528224f448c19128836e7df245f72)

if(TAPESTRY_PROGRAMS)
  set(CLI11_BUILD_TESTS OFF CACHE BOOL "" FORCE)
  set(CLI11_BUILD_EXAMPLES OFF CACHE BOOL "" FORCE)
  set(CLI11_BUILD_DOCS OFF CACHE BOOL "" FORCE)
  tapestry_dependency(CLI11 2.1.2 libcli11-dev  # 2.7.2
                      REPOSITORY https://github.com/CLIUtils/CLI11.git
                      COMMIT cbd58a3696887b34c70949aef21a71735a0c2ad5)
endif()

if(TAPESTRY_TESTS)
  set(DOCTEST_WITH_TESTS OFF CACHE BOOL "" FORCE)
  set(DOCTEST_WITH_MAIN_IN_STATIC_LIB OFF CACHE BOOL "" FORCE)
  set(DOCTEST_NO_INSTALL ON CACHE BOOL "" FORCE)
  tapestry_dependency(doctest 2.4.9 doctest-dev  # 2.5.2
                      REPOSITORY https://github.com/doctest/doctest.git
                      COMMIT 6804767ee637789db8a5cb281381cae98dc36906)
  if(NOT tapestry_doctest_found)
    list(APPEND CMAKE_MODULE_PATH ${doctest_SOURCE_DIR}/scripts/cmake)
  endif()
endif()

# stb has neither a CMake package nor releases: Debian puts the headers into stb/, others flat.
if(NOT TAPESTRY_FETCH STREQUAL "always")
  find_path(TAPESTRY_STB_DIR stb_image.h PATH_SUFFIXES stb DOC "Directory of stb_image.h")
endif()
if(TAPESTRY_STB_DIR)
  message(STATUS "stb: system ${TAPESTRY_STB_DIR}")
elseif(TAPESTRY_FETCH STREQUAL "off")
  tapestry_missing("stb_image.h" libstb-dev)
else()
  message(STATUS "stb: downloading https://github.com/nothings/stb.git")
  FetchContent_Declare(stb GIT_REPOSITORY https://github.com/nothings/stb.git
                       GIT_TAG 31c1ad37456438565541f4919958214b6e762fb4)
  FetchContent_MakeAvailable(stb)
  set(TAPESTRY_STB_DIR ${stb_SOURCE_DIR})
endif()
