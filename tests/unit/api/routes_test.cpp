#include "hubbub/api/routes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>

#include "support/hub_fixture.hpp"

namespace hubbub::api {
namespace {

/// `GET /api/rooms` for each operation of the document: paths stand two columns in, methods four.
std::set<std::string> operations_of(const std::string& path) {
  std::set<std::string> operations;
  std::ifstream in(path);
  std::string line, at;
  bool in_paths = false;
  while (std::getline(in, line)) {
    if (!line.empty() && line.front() != ' ') in_paths = line == "paths:";
    if (!in_paths || !line.ends_with(':')) continue;
    line.pop_back();
    if (line.starts_with("  /")) {
      at = line.substr(2);
    } else if (line.starts_with("    ") && line.size() > 4 && line[4] != ' ') {
      std::string method = line.substr(4);
      if (method == "parameters") continue;
      std::transform(method.begin(), method.end(), method.begin(), [](char c) { return char(c - 32); });
      EXPECT_TRUE(operations.insert(method + " " + at).second) << method << " " << at;
    }
  }
  return operations;
}

TEST(Routes, TheOpenApiDocumentDescribesAllOfThemAndNoOthers) {
  test::HubFixture hub;
  transport::TransportContext context{hub.manager, {}};
  ServerApi api(context, {});
  add_routes(api, false);
  std::set<std::string> routes;
  for (const transport::Route& route : context.router.routes()) {
    EXPECT_TRUE(routes.insert(std::string(route.method) + " " + std::string(route.pattern)).second)
        << route.method << " " << route.pattern << " is there twice";
  }
  EXPECT_GT(routes.size(), 20U);
  EXPECT_EQ(operations_of(HUBBUB_SOURCE_DIR "/docs/openapi.yaml"), routes);
}

}  // namespace
}  // namespace hubbub::api
