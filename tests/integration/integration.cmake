# Tests of the real binary by clients that we did not write: Python `websockets`, Node `ws`, the Autobahn suite.
# A missing package is a failure: scripts/setup installs them.
find_program(HUBBUB_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH REQUIRED)
find_program(HUBBUB_NODE node REQUIRED)
set(HUBBUB_INTEGRATION ${CMAKE_CURRENT_SOURCE_DIR}/integration)
set(HUBBUB_INTEGRATION_ENVIRONMENT "HUBBUB_BINARY=$<TARGET_FILE:hubbub>")

file(GLOB python_tests CONFIGURE_DEPENDS ${HUBBUB_INTEGRATION}/test_*.py)
foreach(path IN LISTS python_tests)
  get_filename_component(name ${path} NAME_WE)
  string(REGEX REPLACE "^test_" "" name ${name})
  add_test(NAME integration.python.${name} COMMAND ${HUBBUB_PYTHON} -B ${path})
  set_tests_properties(integration.python.${name} PROPERTIES TIMEOUT 400 LABELS integration
                       ENVIRONMENT "${HUBBUB_INTEGRATION_ENVIRONMENT}")
endforeach()
# It fills sockets and measures time: alone.
set_tests_properties(integration.python.pressure PROPERTIES RUN_SERIAL TRUE)
# It judges the proxies and their configuration more than our code: not under sanitizers as well.
set_tests_properties(integration.python.proxies PROPERTIES LABELS "integration;long")

file(GLOB node_tests CONFIGURE_DEPENDS ${HUBBUB_INTEGRATION}/*.test.mjs)
foreach(path IN LISTS node_tests)
  get_filename_component(name ${path} NAME_WE)
  add_test(NAME integration.node.${name} COMMAND ${HUBBUB_NODE} --test --test-reporter=spec ${path})
  set_tests_properties(integration.node.${name} PROPERTIES TIMEOUT 200 LABELS integration
                       ENVIRONMENT "${HUBBUB_INTEGRATION_ENVIRONMENT}")
endforeach()

# docs/openapi.yaml by the rules of tests/integration/redocly.yaml; it asks nobody on the network.
add_test(NAME openapi.lint
         COMMAND ${HUBBUB_NODE} ${HUBBUB_INTEGRATION}/node_modules/@redocly/cli/bin/cli.js lint
                 --config ${HUBBUB_INTEGRATION}/redocly.yaml ${PROJECT_SOURCE_DIR}/docs/openapi.yaml)
set_tests_properties(openapi.lint PROPERTIES TIMEOUT 120 LABELS source
                     ENVIRONMENT "REDOCLY_TELEMETRY=off;REDOCLY_SUPPRESS_UPDATE_NOTICE=true;CI=true")

# The proxies' own opinion of config/; a warning is a failure. That they do what we want: integration.python.proxies.
add_test(NAME config.haproxy COMMAND /usr/sbin/haproxy -c -dW -f ${PROJECT_SOURCE_DIR}/config/haproxy.cfg)
add_test(NAME config.nginx COMMAND /usr/sbin/nginx -t -c ${PROJECT_SOURCE_DIR}/config/nginx.conf
                                   -g "pid ${CMAKE_CURRENT_BINARY_DIR}/nginx.pid;")
set_tests_properties(config.nginx PROPERTIES FAIL_REGULAR_EXPRESSION "\\[warn\\]")
set_tests_properties(config.haproxy config.nginx PROPERTIES TIMEOUT 60 LABELS source)

# docker/, without an engine: what we promise of it, and the opinion of two linters.
add_test(NAME docker.promises COMMAND ${HUBBUB_PYTHON} -B ${CMAKE_CURRENT_SOURCE_DIR}/checks/docker.py)
add_test(NAME docker.compose_lint
         COMMAND ${HUBBUB_NODE} ${HUBBUB_INTEGRATION}/node_modules/dclint/bin/dclint.cjs --max-warnings 0
                 --config ${HUBBUB_INTEGRATION}/dclint.json ${PROJECT_SOURCE_DIR}/docker/docker-compose.yml)
add_test(NAME docker.image_lint
         COMMAND ${HUBBUB_NODE} ${HUBBUB_INTEGRATION}/node_modules/dockerfilelint/bin/dockerfilelint
                 ${PROJECT_SOURCE_DIR}/docker/Dockerfile)
set_tests_properties(docker.promises docker.compose_lint docker.image_lint PROPERTIES TIMEOUT 120 LABELS source)

set(conformance ${HUBBUB_PYTHON} -B ${CMAKE_CURRENT_SOURCE_DIR}/conformance/run_autobahn.py
    --work ${PROJECT_SOURCE_DIR}/build/conformance)
add_test(NAME conformance.self_test COMMAND ${conformance} --self-test)
add_test(NAME conformance.autobahn COMMAND ${conformance} --binary $<TARGET_FILE:hubbub>)
# They share a folder; and the one measures round trips.
set_tests_properties(conformance.self_test conformance.autobahn PROPERTIES TIMEOUT 500 RESOURCE_LOCK conformance
                     LABELS "integration;long")
