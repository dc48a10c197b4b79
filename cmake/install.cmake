# cmake --install, in three parts: the program with its man page, completions, the recipes and
# class files (to read and to start from; the program carries its own copies) and the list of what
# it is made of; the library with its header; the module for mpirun. cpack makes a .deb of each.
include(GNUInstallDirs)
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)  # packages need no tests
include(CMakePackageConfigHelpers)
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME runtime)

install(TARGETS weightbridge RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT runtime)
if(TARGET weightbridge_mpi)
  install(TARGETS weightbridge_mpi LIBRARY DESTINATION lib/weightbridge COMPONENT mpi)
endif()
install(FILES share/man/weightbridge.1 DESTINATION "${CMAKE_INSTALL_MANDIR}/man1" COMPONENT runtime)
install(FILES share/completions/weightbridge.bash COMPONENT runtime
        DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" RENAME weightbridge)
install(FILES share/completions/_weightbridge COMPONENT runtime
        DESTINATION "${CMAKE_INSTALL_DATADIR}/zsh/site-functions")
install(FILES share/completions/weightbridge.fish COMPONENT runtime
        DESTINATION "${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d")
install(DIRECTORY recipes mlx DESTINATION "${CMAKE_INSTALL_DATADIR}/weightbridge" COMPONENT runtime
        FILES_MATCHING PATTERN "*.toml" PATTERN "*.py" PATTERN "*.swift" PATTERN "*.md")
install(FILES LICENSE README.md DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT runtime)
if(TARGET sbom)
  install(FILES "${WB_SBOM}" DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT runtime)
endif()

# --- the library ---
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/weightbridge")
install(TARGETS weightbridge_library EXPORT weightbridgeTargets COMPONENT development
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(FILES src/package/weightbridge.h "${CMAKE_BINARY_DIR}/generated/weightbridge/version.h"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/weightbridge" COMPONENT development)
install(EXPORT weightbridgeTargets NAMESPACE weightbridge:: DESTINATION "${package_dir}"
        COMPONENT development)
configure_package_config_file(cmake/weightbridgeConfig.cmake.in
  "${CMAKE_BINARY_DIR}/generated/weightbridgeConfig.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${CMAKE_BINARY_DIR}/generated/weightbridgeConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/generated/weightbridgeConfig.cmake"
              "${CMAKE_BINARY_DIR}/generated/weightbridgeConfigVersion.cmake"
        DESTINATION "${package_dir}" COMPONENT development)
file(RELATIVE_PATH WB_PREFIX_FROM_PC "/p/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/p")
configure_file(cmake/weightbridge.pc.in "${CMAKE_BINARY_DIR}/generated/weightbridge.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/generated/weightbridge.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT development)

# --- packages ---
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "the weightbridge project")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX "/usr")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME weightbridge)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_RECOMMENDS libopenblas0-pthread)
set(CPACK_DEBIAN_MPI_PACKAGE_NAME weightbridge-mpi)
set(CPACK_DEBIAN_MPI_PACKAGE_DEPENDS "weightbridge (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libweightbridge-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "libfmt-dev, zlib1g-dev, libxxhash-dev, libssl-dev, libdeflate-dev, libhwy-dev")
include(CPack)
