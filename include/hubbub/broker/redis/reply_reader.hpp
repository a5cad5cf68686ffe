#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "hubbub/broker/redis/reply.hpp"

struct redisReader;

namespace hubbub::broker::redis {

/// Bytes in, replies out: hiredis' reader with bounds. A stream that breaks the protocol or a bound is of no more use.
class ReplyReader {
 public:
  static constexpr std::size_t kReplyBytesMax = 128UL * 1024 * 1024;
  static constexpr std::size_t kElementsMax = 1UL << 20U;  ///< of a reply, those of its arrays counted together

  ReplyReader();
  ~ReplyReader();
  ReplyReader(const ReplyReader&) = delete;
  ReplyReader& operator=(const ReplyReader&) = delete;

  /// Calls `on_reply(Reply&&)` for each reply that is complete, as long as that returns true. False when the stream is
  /// broken; then problem() says how.
  template <class OnReply>
  bool consume(std::string_view bytes, OnReply&& on_reply) {
    // hiredis moves what is left in its buffer to the front once a KiB is read from it, so it must never hold much.
    constexpr std::size_t kChunkBytes = 16UL * 1024;
    while (!bytes.empty()) {
      const auto chunk = bytes.substr(0, std::min(bytes.size(), kChunkBytes));
      bytes.remove_prefix(chunk.size());
      if (!feed(chunk)) return false;
      for (Reply reply; next(reply); reply = Reply()) {
        if (!on_reply(std::move(reply))) return true;
      }
      if (!problem_.empty()) return false;
    }
    return true;
  }

  const std::string& problem() const { return problem_; }

 private:
  bool feed(std::string_view chunk);
  /// False when there is none, or the stream is broken.
  bool next(Reply& reply);

  struct Free {
    void operator()(redisReader* reader) const;
  };
  std::unique_ptr<redisReader, Free> reader_;
  std::size_t elements_ = 0;  // promised by the arrays of the reply that is under way
  std::size_t bytes_ = 0;     // of it so far, at most
  std::string problem_;
};

}  // namespace hubbub::broker::redis
