# Headers, both libraries, woqConfig.cmake for find_package(woq), woq.pc for pkg-config.

install(TARGETS woq woq_static EXPORT woqTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/woq DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
install(EXPORT woqTargets NAMESPACE woq:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/woq)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/woqConfigVersion.cmake COMPATIBILITY SameMinorVersion)
file(WRITE ${PROJECT_BINARY_DIR}/woqConfig.cmake
     "include(CMakeFindDependencyMacro)
find_dependency(Threads)
include(\${CMAKE_CURRENT_LIST_DIR}/woqTargets.cmake)
")
configure_file(${PROJECT_SOURCE_DIR}/cmake/woq.pc.in ${PROJECT_BINARY_DIR}/woq.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/woqConfig.cmake ${PROJECT_BINARY_DIR}/woqConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/woq)
install(FILES ${PROJECT_BINARY_DIR}/woq.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
