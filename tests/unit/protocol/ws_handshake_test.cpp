#include "hubbub/protocol/ws_handshake.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace hubbub::protocol {
namespace {

constexpr char kAnswer[] = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

TEST(WsHandshake, AnswersTheKeyOfTheRfc) {
  EXPECT_EQ(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST(WsHandshake, TakesOnlyTheBase64OfSixteenBytesAsAKey) {
  EXPECT_TRUE(is_valid_client_key("dGhlIHNhbXBsZSBub25jZQ=="));
  EXPECT_TRUE(is_valid_client_key("+/+/+/+/+/+/+/+/+/+/+w=="));
  for (const char* bad :
       {"", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZWE=", "dGhlIHNhbXBsZSBub25jZWFi",
        "dGhlIHNhbXBsZSBub25jZQ== ", " GhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBs=SBub25jZQ==", "dGhlIHNhbXBs_SBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQ====", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="}) {
    EXPECT_FALSE(is_valid_client_key(bad)) << bad;
  }
}

TEST(WsHandshake, AcceptsThePlainOfferAndTheBrowsers) {
  for (const char* offer : {
           "permessage-deflate",
           "permessage-deflate; client_max_window_bits",
           "permessage-deflate;client_max_window_bits=15",
           "  permessage-deflate ; client_max_window_bits = 8 ",
           "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
           "permessage-deflate; client_max_window_bits=\"10\"",
           "permessage-deflate; client_max_window_bits=\"1\\0\"",
           "Permessage-Deflate; Client_Max_Window_Bits",
       }) {
    EXPECT_EQ(negotiate_deflate(offer), kAnswer) << offer;
  }
}

TEST(WsHandshake, ConfirmsTheFullServerWindowAndDeclinesSmallerOnes) {
  EXPECT_EQ(negotiate_deflate("permessage-deflate; server_max_window_bits=15"),
            std::string(kAnswer) + "; server_max_window_bits=15");
  for (const char* bits : {"8", "9", "10", "14"}) {
    EXPECT_EQ(negotiate_deflate(std::string("permessage-deflate; server_max_window_bits=") + bits), std::nullopt);
  }
}

TEST(WsHandshake, TakesTheFirstAcceptableOfSeveralOffers) {
  EXPECT_EQ(negotiate_deflate("permessage-deflate; server_max_window_bits=10, permessage-deflate"), kAnswer);
  EXPECT_EQ(negotiate_deflate("x-webkit-deflate-frame; no_context_takeover, permessage-deflate"), kAnswer);
  EXPECT_EQ(negotiate_deflate("permessage-deflate; server_max_window_bits=15, permessage-deflate"),
            std::string(kAnswer) + "; server_max_window_bits=15");
  EXPECT_EQ(negotiate_deflate("permessage-deflate; x=\"a,permessage-deflate\" , ,, permessage-deflate;"
                              "client_no_context_takeover"),
            kAnswer);
  EXPECT_EQ(negotiate_deflate("foo; a=\"\\\", permessage-deflate\""), std::nullopt);
}

TEST(WsHandshake, PassesOverUnknownRepeatedAndIllFormedParameters) {
  for (const char* offer : {
           "permessage-deflate; unknown",
           "permessage-deflate; unknown=1",
           "permessage-deflate; client_max_window_bits; client_max_window_bits",
           "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
           "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
           "permessage-deflate; server_no_context_takeover=1",
           "permessage-deflate; client_no_context_takeover=\"\"",
           "permessage-deflate; server_max_window_bits",
           "permessage-deflate; server_max_window_bits=",
           "permessage-deflate; server_max_window_bits=16",
           "permessage-deflate; client_max_window_bits=",
           "permessage-deflate; client_max_window_bits=7",
           "permessage-deflate; client_max_window_bits=16",
           "permessage-deflate; client_max_window_bits=08",
           "permessage-deflate; client_max_window_bits=+9",
           "permessage-deflate; client_max_window_bits=1 0",
           "permessage-deflate; client_max_window_bits=\"10",
           "permessage-deflate; client_max_window_bits=\"\"",
           "permessage-deflate; client_max_window_bits=\"10\\",
           "permessage-deflate;",
           "permessage-deflate; ; client_max_window_bits",
           "permessage-deflate client_max_window_bits",
           "permessage-deflate=1",
           "\"permessage-deflate\"",
           "permessage-deflate2",
           "deflate",
           ",",
           "",
       }) {
    EXPECT_EQ(negotiate_deflate(offer), std::nullopt) << offer;
  }
}

}  // namespace
}  // namespace hubbub::protocol
