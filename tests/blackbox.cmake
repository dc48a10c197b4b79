# Tests through the program, and tests of the repository itself.
add_test(NAME error_codes_are_tested
  COMMAND "${CMAKE_COMMAND}" -D "SOURCE_DIR=${CMAKE_SOURCE_DIR}"
          -P "${CMAKE_CURRENT_SOURCE_DIR}/check_error_codes.cmake")
add_test(NAME type_names_are_unique
  COMMAND python3 "${CMAKE_CURRENT_SOURCE_DIR}/check_type_names.py" "${CMAKE_SOURCE_DIR}")

# The quantisers on another processor, emulated.
add_test(NAME quantize_on_neon
  COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/neon/run.sh" "${CMAKE_BINARY_DIR}/neon")
set_tests_properties(quantize_on_neon PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900)

# Debian's own python3 is the one that has python3-torch; any other serves for the rest.
find_program(WB_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
find_program(WB_PYTHON NAMES python3)
if(NOT WB_PYTHON)
  message(WARNING "python3 is missing: every black-box test is left out")
  return()
endif()
execute_process(COMMAND "${WB_PYTHON}" -c "import torch, numpy" RESULT_VARIABLE no_torch
                OUTPUT_QUIET ERROR_QUIET)
if(NOT no_torch EQUAL 0)
  message(WARNING "python3-torch or python3-numpy is missing: the tests against PyTorch will be SKIPPED")
endif()

set(blackbox_environment "WB_PROGRAM=$<TARGET_FILE:weightbridge>" "WB_SOURCE_DIR=${CMAKE_SOURCE_DIR}"
    "WB_SANITIZED=$<BOOL:${WB_SANITIZE}>" "WB_COUNTED=$<BOOL:${WB_COVERAGE}>" "PYTHONDONTWRITEBYTECODE=1"
    "WB_MLX_WORK=${CMAKE_BINARY_DIR}/mlx-live"
    "WB_TOKENIZER_WORK=${CMAKE_BINARY_DIR}/tokenizer-live"
    "WB_OPENAI_WORK=${CMAKE_BINARY_DIR}/openai-live"
    "WB_FAULTS_WORK=${CMAKE_BINARY_DIR}/faults")
# wb_blackbox(NAME SCRIPT [TORCH] [ARGS ...]); exit code 77 is a skip that says why.
function(wb_blackbox name script)
  cmake_parse_arguments(arg "TORCH" "" "ARGS" ${ARGN})
  if(arg_TORCH AND NOT no_torch EQUAL 0)
    add_test(NAME ${name} COMMAND "${CMAKE_COMMAND}" -E echo
             "SKIPPED: python3-torch is missing; tools/install_deps.sh test installs it")
    set_tests_properties(${name} PROPERTIES SKIP_REGULAR_EXPRESSION "SKIPPED")
    return()
  endif()
  add_test(NAME ${name} COMMAND "${WB_PYTHON}" "${CMAKE_CURRENT_SOURCE_DIR}/blackbox/${script}" ${arg_ARGS})
  set_tests_properties(${name} PROPERTIES ENVIRONMENT "${blackbox_environment}" LABELS blackbox
                       SKIP_RETURN_CODE 77 TIMEOUT 900)
endfunction()

wb_blackbox(cli cli_test.py)
wb_blackbox(cli_live cli_live_test.py)
wb_blackbox(cli_docs cli_docs.py ARGS "$<TARGET_FILE:weightbridge>" "${CMAKE_SOURCE_DIR}/share")
wb_blackbox(quantise quantise_test.py)
wb_blackbox(reference_size variants_test.py TORCH ARGS ReferenceSize)
wb_blackbox(variants variants_test.py TORCH ARGS Variants)

wb_blackbox(speak speak_test.py)
wb_blackbox(chat chat_test.py)
wb_blackbox(bench_table bench_table_test.py)

# serve: over plain HTTP, under load, from OpenAI's own client, and its page in a browser.
wb_blackbox(serve serve_test.py ARGS Answers Refusals Beside)
wb_blackbox(serve_limits serve_test.py ARGS Limits)
wb_blackbox(serve_load serve_load_test.py)
wb_blackbox(serve_openai serve_openai_test.py)
wb_blackbox(serve_page serve_page_test.py)

# The tokenizer beside two that others made.
add_executable(encode_tool tokenizer_live/encode.cpp)
target_link_libraries(encode_tool PRIVATE wb_tokenizer wb_warnings)
wb_blackbox(tokenizer_live tokenizer_live_test.py ARGS "$<TARGET_FILE:encode_tool>")

# Chat templates beside Jinja itself.
add_executable(chat_template_tool chat_template/render.cpp)
target_link_libraries(chat_template_tool PRIVATE wb_speak wb_warnings)
wb_blackbox(chat_templates chat_template_test.py ARGS "$<TARGET_FILE:chat_template_tool>")

# recipes new: drafts against recipes that people wrote.
wb_blackbox(recipes_new recipes_new_test.py)

# The class that an exact folder is loaded by: each of its switches on the stand-in for
# MLX, and a folder from the program, also on real MLX (one test each, so that a skip shows).
wb_blackbox(exact_class_axes ../mlx/test_axes.py TORCH)
wb_blackbox(exact_class_keys ../mlx/test_same_keys.py TORCH)
wb_blackbox(exact_class exact_class_test.py TORCH ARGS ExactClass.test_on_the_stand_in)
wb_blackbox(exact_class_on_mlx exact_class_test.py ARGS ExactClass.test_on_real_mlx)
wb_blackbox(exact_class_axes_on_mlx exact_class_live_test.py TORCH ARGS Axes)
wb_blackbox(exact_class_quantised_on_mlx exact_class_live_test.py TORCH ARGS Quantised)

# verify: the sample, the fixtures that PyTorch made, recipes that are wrong on purpose; the
# report laid out by a browser; references that a PyTorch program exports.
wb_blackbox(verify_sample verify_test.py ARGS Sample)
wb_blackbox(verify_fixtures verify_test.py ARGS Fixtures)
wb_blackbox(verify_report verify_test.py ARGS Reports)
wb_blackbox(verify_export verify_test.py TORCH ARGS Export)

# The gallery: recipes of public layouts against PyTorch witnesses, and every setting wrong once.
wb_blackbox(gallery gallery_test.py ARGS Agreement)
wb_blackbox(solve_gallery solve_test.py TORCH ARGS Gallery.test_with_hidden_states)
wb_blackbox(solve_drafts solve_test.py TORCH ARGS FromADraft)
wb_blackbox(solve_gallery_logits solve_test.py TORCH ARGS Gallery.test_from_logits_alone)
wb_blackbox(solve_refusals solve_test.py TORCH ARGS Refusals)
wb_blackbox(gallery_wrong_settings gallery_test.py ARGS WrongSettings)

# Published layouts: golden logits of real MLX, every form they are stored in, and impostors.
wb_blackbox(published published_test.py)
wb_blackbox(gallery_traps gallery_test.py TORCH ARGS Traps Wrapped)
wb_blackbox(gallery_coverage gallery_test.py ARGS Coverage)
wb_blackbox(gallery_axes gallery_test.py ARGS Axes)
wb_blackbox(gallery_porting gallery_test.py ARGS Porting)
wb_blackbox(gallery_on_mlx gallery_test.py ARGS RealMlx)

# --check: one bit that is wrong, anywhere.
wb_blackbox(integrity integrity_test.py)

# Hostile files and requests, each refused in its own words, at little cost.
wb_blackbox(attacks attack_test.py)

# Conversions that are cut off, and ranks of mpirun.
wb_blackbox(resume resume_test.py ARGS Interrupted)
wb_blackbox(ranks resume_test.py ARGS Ranks)

# Faults of the machine: disks, files that change, failing calls, signals, limits.
wb_blackbox(faults faults_test.py)

# The same bytes whatever the threads, the instruction set and the order of files.
wb_blackbox(determinism determinism_test.py)

# What cmake --install lays down: a program is built against it, and the list of what is in it.
if(NOT WB_SANITIZE AND NOT WB_TSAN AND NOT WB_COVERAGE AND WB_DPKG)
  add_test(NAME package COMMAND "${WB_PYTHON}" "${CMAKE_CURRENT_SOURCE_DIR}/package/check.py"
           "${CMAKE_BINARY_DIR}" "${CMAKE_SOURCE_DIR}")
  set_tests_properties(package PROPERTIES LABELS blackbox TIMEOUT 300)
endif()

# The short form, for valgrind and ThreadSanitizer (make valgrind, make tsan): `ctest -C Short -L short`.
# Unit tests of a layer in one process, and each command of the program once.
wb_blackbox(short_program short_test.py)
set_tests_properties(short_program PROPERTIES LABELS "blackbox;short" TIMEOUT 1500)
foreach(layer base tensor checkpoint convert tokenizer)
  add_test(NAME short_${layer} CONFIGURATIONS Short
           COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/short/run.sh" $<TARGET_FILE:${layer}_tests>
                   "--gtest_filter=-*DeathTest*:*Random*:*Fuzz*")
  set_tests_properties(short_${layer} PROPERTIES LABELS short TIMEOUT 1500)
endforeach()
