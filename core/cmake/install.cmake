# `cmake --install build --prefix P` makes find_package(tapestry) work for whoever has P in
# CMAKE_PREFIX_PATH. Headers and libraries are installed by tapestry_library.
include(CMakePackageConfigHelpers)

set(destination ${CMAKE_INSTALL_LIBDIR}/cmake/tapestry)
install(EXPORT tapestry NAMESPACE tapestry:: FILE tapestryTargets.cmake DESTINATION ${destination})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/tapestryConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/tapestryConfig.cmake
                              INSTALL_DESTINATION ${destination})
# Before 1.0 a minor version may break its users.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tapestryConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tapestryConfig.cmake
              ${PROJECT_BINARY_DIR}/tapestryConfigVersion.cmake DESTINATION ${destination})

install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
# Data and configs that programs look for beside themselves.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/datasets/mini ${PROJECT_SOURCE_DIR}/datasets/features
        DESTINATION ${CMAKE_INSTALL_DATADIR}/tapestry/datasets)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/examples/configs
        DESTINATION ${CMAKE_INSTALL_DATADIR}/tapestry)
