# Headers, libraries, the CMake package (find_package(woq), with COMPONENTS model for libwoq-model), and woq.pc and
# woq-model.pc for pkg-config.

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/woq)
set(model_headers calibrate.h checkpoint.h evaluate.h tokenizer.h quantize.h model.h)
list(TRANSFORM model_headers PREPEND ${PROJECT_SOURCE_DIR}/include/woq/ OUTPUT_VARIABLE model_header_files)

install(TARGETS woq woq_static EXPORT woqTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
set(unwanted)
foreach(header IN LISTS model_headers)
    list(APPEND unwanted PATTERN ${header} EXCLUDE)
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/woq DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h" ${unwanted})
install(EXPORT woqTargets NAMESPACE woq:: DESTINATION ${package})

write_basic_package_version_file(${PROJECT_BINARY_DIR}/woqConfigVersion.cmake COMPATIBILITY SameMinorVersion)
configure_file(${PROJECT_SOURCE_DIR}/cmake/woqConfig.cmake.in ${PROJECT_BINARY_DIR}/woqConfig.cmake @ONLY)

# The files for pkg-config lie in libdir/pkgconfig and say where the rest is from there, so that the folder can be
# moved; folders that were given as absolute stay where they are.
set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
    set(pc_libdir "${CMAKE_INSTALL_LIBDIR}")
else()
    file(RELATIVE_PATH pc_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
    set(pc_prefix "\${pcfiledir}/${pc_prefix}")
    string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/woq.pc.in ${PROJECT_BINARY_DIR}/woq.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/woqConfig.cmake ${PROJECT_BINARY_DIR}/woqConfigVersion.cmake
        DESTINATION ${package})
install(FILES ${PROJECT_BINARY_DIR}/woq.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(WOQ_HAVE_MODEL)
    # It finds libwoq beside it, wherever the two are installed.
    set_target_properties(woq_model PROPERTIES INSTALL_RPATH $ORIGIN)
    install(TARGETS woq_model woq_model_static EXPORT woqModelTargets
            LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(FILES ${model_header_files} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/woq)
    install(EXPORT woqModelTargets NAMESPACE woq:: DESTINATION ${package})
    configure_file(${PROJECT_SOURCE_DIR}/cmake/woq-model.pc.in ${PROJECT_BINARY_DIR}/woq-model.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/woq-model.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
