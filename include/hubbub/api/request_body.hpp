#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/base/shared_string.hpp"
#include "hubbub/protocol/errors.hpp"

namespace hubbub::api {

struct BodyFault {
  protocol::ErrorCode code = protocol::ErrorCode::kBadJson;
  std::string text{};
};

/// The members that bodies of requests have, each checked; what is not there is empty. Members of other names are
/// ignored. Texts are decoded; `content`, `user_ids` and `publishes` are raw JSON, as they came. Views are into the
/// body and into the RequestBody: valid until its next read().
class RequestBody {
 public:
  /// `json` must be one object. What it was before is gone.
  std::optional<BodyFault> read(std::string_view json);

  std::string_view content;
  std::string_view from = "server";
  std::string_view message_id;
  std::string_view exclude_user;
  std::string_view room_id;
  std::string_view to_user;
  std::string_view user_ids;   ///< an array
  std::string_view publishes;  ///< an array
  bool ephemeral = false;
  /// With `"report":"sync"`: how long to wait for `received`.
  std::optional<std::int64_t> ack_within_ms;

 private:
  void clear();
  std::optional<BodyFault> take(std::string_view name, std::string_view raw);
  std::optional<BodyFault> take_id(std::string_view name, std::string_view raw, std::string_view& out);
  std::string_view text(std::string_view raw);

  std::string scratch_;
  std::size_t size_ = 0;
  bool sync_ = false;
  std::optional<std::int64_t> within_ms_;
};

/// A list of 1 to `max` user ids.
std::optional<BodyFault> read_users(std::string_view raw, std::size_t max, std::vector<base::SharedString>& users);

/// What the body of a notification says to the server rather than to the user.
struct NotificationBody {
  std::string type;  ///< its own `type`, if an event may be called so; else empty
  std::optional<std::int64_t> ack_within_ms{};
  std::string body{};  ///< the event's, without what was for the server
};
std::optional<BodyFault> read_notification(std::string_view json, NotificationBody& out);

}  // namespace hubbub::api
