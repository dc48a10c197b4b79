# cmake --install: the program, its man page and completions, the recipes and class
# files (to read and to start from; the program carries its own copies).
include(GNUInstallDirs)
install(TARGETS weightbridge RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
if(TARGET weightbridge_mpi)
  install(TARGETS weightbridge_mpi LIBRARY DESTINATION lib/weightbridge)
endif()
install(FILES share/man/weightbridge.1 DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
install(FILES share/completions/weightbridge.bash
        DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" RENAME weightbridge)
install(FILES share/completions/_weightbridge
        DESTINATION "${CMAKE_INSTALL_DATADIR}/zsh/site-functions")
install(FILES share/completions/weightbridge.fish
        DESTINATION "${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d")
install(DIRECTORY recipes mlx DESTINATION "${CMAKE_INSTALL_DATADIR}/weightbridge"
        FILES_MATCHING PATTERN "*.toml" PATTERN "*.py" PATTERN "*.swift" PATTERN "*.md")
install(FILES LICENSE README.md DESTINATION "${CMAKE_INSTALL_DOCDIR}")
