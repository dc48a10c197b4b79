# The texts of recipes/*.toml as one generated source of wb_recipe, so that the
# program is one file. Included after wb_layer(recipe); run with -P by the build.
if(CMAKE_SCRIPT_MODE_FILE)
  set(content "// Generated from recipes/ by cmake/embed_recipes.cmake.\n")
  string(APPEND content "#include \"recipe/shipped.h\"\n\nnamespace wb {\n\n")
  string(APPEND content "const std::vector<EmbeddedRecipe>& embedded_recipes() {\n")
  string(APPEND content "  static const std::vector<EmbeddedRecipe> recipes = {\n")
  file(GLOB recipes "${RECIPES}/*.toml")
  list(SORT recipes)
  foreach(recipe ${recipes})
    get_filename_component(name "${recipe}" NAME)
    # Read as hex digits: a list separator or bracket in the text would not survive CMake.
    file(READ "${recipe}" hex HEX)
    string(REGEX REPLACE "(................................................................)"
           "\\1\"\n       \"" hex "${hex}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" hex "${hex}")
    file(SIZE "${recipe}" size)
    string(APPEND content "      {\"recipes/${name}\", std::string_view(\n       \"${hex}\", ${size})},\n")
  endforeach()
  string(APPEND content "  };\n  return recipes;\n}\n\n}  // namespace wb\n")
  file(WRITE "${OUTPUT}" "${content}")
  return()
endif()

file(GLOB wb_recipe_files CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/recipes/*.toml")
set(wb_embedded "${CMAKE_BINARY_DIR}/generated/embedded_recipes.cpp")
add_custom_command(
  OUTPUT "${wb_embedded}"
  COMMAND "${CMAKE_COMMAND}" "-DRECIPES=${CMAKE_SOURCE_DIR}/recipes" "-DOUTPUT=${wb_embedded}"
          -P "${CMAKE_CURRENT_LIST_FILE}"
  DEPENDS ${wb_recipe_files} "${CMAKE_CURRENT_LIST_FILE}"
  COMMENT "Embedding the recipes"
  VERBATIM)
get_target_property(wb_recipe_type wb_recipe TYPE)
if(wb_recipe_type STREQUAL "STATIC_LIBRARY")
  target_sources(wb_recipe PRIVATE "${wb_embedded}")
endif()
