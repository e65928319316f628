# How Tapestry's own targets are made: one static library per folder, the same warnings everywhere.
include(GNUInstallDirs)

add_library(tapestry_warnings INTERFACE)
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  target_compile_options(tapestry_warnings INTERFACE -Wall -Wextra -Wshadow -Wpedantic
                         $<$<BOOL:${TAPESTRY_WERROR}>:-Werror>)
  # g++ 12 sees overlapping copies in the standard library's string + string (GCC bug 105651).
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(tapestry_warnings INTERFACE -Wno-restrict)
  endif()
endif()

# tapestry_library(core SOURCES a.cc ... DEPENDS other ...) makes tapestry_core, alias tapestry::core,
# and installs it with the headers of the current folder.
function(tapestry_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(tapestry_${name} STATIC ${arg_SOURCES})
  add_library(tapestry::${name} ALIAS tapestry_${name})
  set_target_properties(tapestry_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_compile_features(tapestry_${name} PUBLIC cxx_std_20)
  target_include_directories(tapestry_${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                             $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/tapestry>)
  target_link_libraries(tapestry_${name} PUBLIC ${arg_DEPENDS}
                        PRIVATE $<BUILD_INTERFACE:tapestry_warnings>)
  if(TAPESTRY_SANITIZE)
    target_compile_options(tapestry_${name} PUBLIC -fsanitize=${TAPESTRY_SANITIZE} -fno-omit-frame-pointer)
    target_link_options(tapestry_${name} PUBLIC -fsanitize=${TAPESTRY_SANITIZE})
  endif()
  if(TAPESTRY_INSTALL)
    file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
    install(TARGETS tapestry_${name} EXPORT tapestry ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/
            DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tapestry/${folder}
            FILES_MATCHING PATTERN "*.h" PATTERN "*-inl.h" EXCLUDE
            # Folders without headers, which would be made empty.
            PATTERN cmake EXCLUDE PATTERN mini EXCLUDE PATTERN features EXCLUDE
            PATTERN cache EXCLUDE)
  endif()
endfunction()
