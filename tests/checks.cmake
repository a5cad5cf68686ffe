# Checks of the source itself, as tests: layers, self-contained headers, scripts.
find_program(HUBBUB_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH REQUIRED)
set(HUBBUB_CHECKS ${PROJECT_SOURCE_DIR}/tests/checks)

# Every header compiles alone: one generated file a header, an object library that only this test builds.
file(GLOB_RECURSE HUBBUB_HEADERS CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/include
     ${PROJECT_SOURCE_DIR}/include/hubbub/*.hpp)
set(HUBBUB_HEADER_SOURCES)
foreach(header IN LISTS HUBBUB_HEADERS)
  string(REPLACE "/" "_" name ${header})
  set(source ${CMAKE_CURRENT_BINARY_DIR}/headers/${name}.cpp)
  # Twice: what lacks `#pragma once` fails too.
  file(CONFIGURE OUTPUT ${source} CONTENT "#include \"${header}\"\n#include \"${header}\"\n" @ONLY)
  list(APPEND HUBBUB_HEADER_SOURCES ${source})
endforeach()
if(HUBBUB_HEADER_SOURCES)
  add_library(hubbub_headers OBJECT EXCLUDE_FROM_ALL ${HUBBUB_HEADER_SOURCES})
  target_link_libraries(hubbub_headers PRIVATE hubbub_core)
  target_compile_options(hubbub_headers PRIVATE -O0 -Wall -Wextra -Wpedantic -Werror)
  add_test(NAME headers_self_contained
           COMMAND ${CMAKE_COMMAND} --build ${PROJECT_BINARY_DIR} --target hubbub_headers --parallel)
  set_tests_properties(headers_self_contained PROPERTIES TIMEOUT 600 LABELS source RUN_SERIAL TRUE)
endif()

add_test(NAME layers COMMAND ${HUBBUB_PYTHON} -B ${HUBBUB_CHECKS}/layers.py ${PROJECT_SOURCE_DIR})
add_test(NAME layers_self_test COMMAND ${HUBBUB_PYTHON} -B ${HUBBUB_CHECKS}/layers.py --self-test)
add_test(NAME scripts_shellcheck COMMAND ${HUBBUB_CHECKS}/shell.sh)
add_test(NAME scripts_format COMMAND ${HUBBUB_CHECKS}/format.sh)
add_test(NAME scripts_python COMMAND ${HUBBUB_PYTHON} -B ${HUBBUB_CHECKS}/python.py)
set_tests_properties(layers layers_self_test scripts_shellcheck scripts_format scripts_python PROPERTIES TIMEOUT 60 LABELS source)
