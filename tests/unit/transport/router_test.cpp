#include <gtest/gtest.h>

#include "hubbub/transport/http.hpp"

namespace hubbub::transport {
namespace {

TEST(Router, AllowListsOnlyMethodsThatARouteKnowsAndWhatFollowsFromThem) {
  Router router;
  EXPECT_EQ(router.methods(), "OPTIONS");
  router.add({"POST", "/rooms/{room}", {}});
  EXPECT_EQ(router.methods(), "OPTIONS, POST");
  router.add({"GET", "/rooms/{room}", {}});
  router.add({"GET", "/healthz", {}});
  EXPECT_EQ(router.methods(), "GET, HEAD, OPTIONS, POST");
  EXPECT_EQ(router.find("PUT", "/rooms/a").allow, "GET, HEAD, OPTIONS, POST");
  EXPECT_EQ(router.find("PUT", "/healthz").allow, "GET, HEAD, OPTIONS");
  EXPECT_EQ(router.find("PUT", "/nope").allow, "");
}

}  // namespace
}  // namespace hubbub::transport
