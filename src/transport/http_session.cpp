#include "hubbub/transport/http_session.hpp"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "hubbub/protocol/event.hpp"
#include "hubbub/protocol/sse.hpp"
#include "hubbub/transport/sse_connection.hpp"

namespace hubbub::transport {

using hub::Framing;
using protocol::CloseCode;
using protocol::ErrorCode;

namespace {
// `timeout=0` asks for what is there; what its session has only just asked its streams for gets this long.
constexpr std::int64_t kUnsettledPollMs = 100;
constexpr std::int64_t kRetiredMs = 2'000;
constexpr std::size_t kUnsureMaxBytes = 16 * 1024;
}  // namespace

HttpSession::HttpSession(ShardTransport& transport, const base::SharedString& user, Framing framing,
                         std::unique_ptr<hub::Resume> resume, bool plain)
    : transport_(transport), framing_(framing), plain_(plain) {
  on_expire = [](base::Timer& timer) { static_cast<HttpSession&>(timer).on_time(); };
  hub::ConnectionManager& manager = transport.context().manager;
  session_ = &manager.sessions(transport.shard()).open(user, framing, *this, std::move(resume));
  key_tag_ = manager.session_key_tag(session_->id());
  transport_.http_sessions_.emplace(session_->id(), this);
  if (plain_) transport_.plain_polls_[user] = this;
}

HttpSession::~HttpSession() {
  transport_.shard().wheel().cancel(*this);
  take_poller();
  if (dirty_) transport_.shard().forget_dirty(*this);
  if (stream_ != nullptr) stream_->session_ = nullptr;
  forget_plain();
  transport_.http_sessions_.erase(session_->id());
  session_->closed();
}

void HttpSession::forget_plain() {
  if (!std::exchange(plain_, false)) return;
  const auto found = transport_.plain_polls_.find(session_->user());
  if (found != transport_.plain_polls_.end() && found->second == this) transport_.plain_polls_.erase(found);
}

// ------------------------------------------------------------------------------------------------------ hub::Outbound

void HttpSession::deliver(const runtime::BatchRef& batch, std::uint32_t begin) {
  cursor_due_ = true;
  if (stream_ != nullptr) {
    if (!stream_->is_closing()) stream_->send_batch(batch, begin);
    return;
  }
  queue_.push(batch, begin);
  mark_dirty();
}

void HttpSession::cut(const runtime::Batch* batch) {
  if (stream_ != nullptr) {
    stream_->close_open_slice(batch);
  } else {
    queue_.close_open_slice(batch);
  }
}

void HttpSession::send(std::string_view json) {
  if (framing_ == Framing::kPoll) {
    if (!unsure_) unsure_ = std::make_unique<Unsure>();
    // What does not fit is lost if its answer is.
    if (unsure_->given.size() + unsure_->fresh.size() + json.size() < kUnsureMaxBytes) {
      unsure_->fresh.append(json).append(1, ',');
    }
  }
  send_recoverable(json);
}

void HttpSession::send_recoverable(std::string_view json) {
  std::string framed;
  transport_.context().manager.sessions(transport_.shard()).framer().append(framed, framing_, json);
  cursor_due_ = true;
  if (stream_ != nullptr) {
    if (!stream_->is_closing()) stream_->send_bytes(framed);
    return;
  }
  queue_.append(framed, transport_.shard().batches());
  mark_dirty();
}

void HttpSession::close(CloseCode code) {
  if (std::exchange(ending_, true)) return;
  std::string json;
  protocol::append_closed_event(json, code);
  if (stream_ != nullptr && stream_->is_blocked()) stream_->drop_unsent();
  send(json);
  if (stream_ != nullptr) std::exchange(stream_, nullptr)->end();
  // Not now: the hub is still at work with the session.
  if (poller_ == nullptr) arm_after(0);
}

std::size_t HttpSession::queued_bytes() const { return stream_ != nullptr ? stream_->queued_bytes() : queue_.bytes(); }

bool HttpSession::is_blocked() const {
  return stream_ != nullptr ? stream_->is_blocked() : framing_ == Framing::kSse || poller_ == nullptr;
}

// ---------------------------------------------------------------------------------------------------------------- SSE

void HttpSession::stream_to(SseConnection& connection, const protocol::Cursor* cursor, bool resumed) {
  if (stream_ != nullptr) {
    std::exchange(stream_, nullptr)->end();
    session_->suspend();
  }
  transport_.shard().wheel().cancel(*this);
  stream_ = &connection;
  connection.start(*this);
  if (resumed) session_->resume(cursor, true);
  // What is for this session alone and came while nobody was there.
  queue_.settle();
  std::array<iovec, 64> pieces;
  while (const std::size_t count = queue_.gather(pieces.data(), pieces.size())) {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < count; ++i) {
      connection.send_bytes({static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len});
      bytes += pieces[i].iov_len;
    }
    queue_.consume(bytes);
  }
}

void HttpSession::on_stream_closed(const SseConnection& connection) {
  if (stream_ != &connection) return;
  session_->suspend();  // before the stream is forgotten: it cuts what is under way
  stream_ = nullptr;
  linger();
}

void HttpSession::append_cursor_block(std::string& out) {
  if (!cursor_due_ || ending_ || !session_->is_attached()) return;
  cursor_due_ = false;
  std::string cursor;
  session_->append_cursor(cursor, key_tag_);
  const auto told = static_cast<std::uint32_t>(std::hash<std::string_view>{}(cursor));
  if (std::exchange(cursor_told_, told) == told) return;  // only ephemera since then
  protocol::append_sse_cursor(out, cursor);
}

// ------------------------------------------------------------------------------------------------------------ polling

void HttpSession::poll(HttpConnection& connection, std::int64_t timeout_ms, const protocol::Cursor* cursor,
                       bool resumed) {
  if (poller_ != nullptr) {
    session_->suspend();
    take_poller()->answer_deferred(error_response(ErrorCode::kReplaced));
  }
  connection.defer(this);
  poller_ = &connection;
  transport_.waiting_polls_.add();
  poll_due_ = false;
  take_cursor(cursor);
  if (resumed) session_->resume(cursor, false);
  const bool settled = session_->is_attached() && session_->is_settled();
  if (timeout_ms == 0 && settled) {
    poll_due_ = true;
    transport_.shard().wheel().cancel(*this);
  } else {
    arm_after(timeout_ms == 0 ? kUnsettledPollMs : timeout_ms);
  }
  mark_dirty();
}

void HttpSession::take_cursor(const protocol::Cursor* cursor) {
  by_cursor_ = cursor != nullptr;
  again_ = false;
  if (!unsure_) return;
  auto& [given, ends, fresh] = *unsure_;
  // A cursor that is not this session's own says nothing of its answers.
  const bool own = cursor != nullptr && cursor->session == session_->id();
  const auto lost =
      std::find_if(ends.begin(), ends.end(), [&](const auto& end) { return own && end.first > cursor->answer; });
  const std::size_t arrived = lost == ends.begin() ? 0 : std::prev(lost)->second;
  given.erase(0, arrived);
  ends.erase(ends.begin(), lost);
  for (auto& end : ends) end.second -= arrived;
  again_ = !given.empty();
  if (!again_ && fresh.empty()) unsure_.reset();
}

HttpConnection* HttpSession::take_poller() {
  if (poller_ != nullptr) transport_.waiting_polls_.sub();
  return std::exchange(poller_, nullptr);
}

void HttpSession::on_connection_gone() {
  take_poller();
  session_->suspend();
  linger();
}

void HttpSession::mark_dirty() {
  if (dirty_ || poller_ == nullptr) return;
  dirty_ = true;
  transport_.shard().mark_dirty(*this);
}

void HttpSession::flush() {
  dirty_ = false;
  if (poller_ == nullptr) return;
  queue_.settle();
  if (queue_.bytes() != 0 || poll_due_ || again_) answer_poll();
}

void HttpSession::answer_poll() {
  HttpResponse response;
  response.body = R"({"messages":[)";
  response.body.reserve(response.body.size() + (again_ ? unsure_->given.size() : 0) + queue_.bytes() + 128);
  if (again_) response.body += unsure_->given;
  std::array<iovec, 64> pieces;
  while (const std::size_t count = queue_.gather(pieces.data(), pieces.size())) {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < count; ++i) {
      response.body.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
      bytes += pieces[i].iov_len;
    }
    queue_.consume(bytes);
  }
  queue_.clear();
  if (response.body.back() == ',') response.body.pop_back();
  response.body += R"(],"cursor":")";
  if (!by_cursor_) {
    unsure_.reset();  // it counts as delivered
  } else if (unsure_ && !unsure_->fresh.empty()) {
    unsure_->given += std::exchange(unsure_->fresh, {});
    unsure_->ends.emplace_back(++answers_, unsure_->given.size());
  }
  again_ = false;
  session_->append_cursor(response.body, key_tag_, answers_);
  response.body += "\"}";
  response.extra_headers = "Cache-Control: no-store\r\n";
  session_->suspend();
  HttpConnection* connection = take_poller();
  poll_due_ = false;
  if (ending_) {
    arm_after(0);
  } else {
    linger();
  }
  // Last: the connection goes on with its next request, which may be the next poll.
  connection->answer_deferred(response);
}

// ------------------------------------------------------------------------------------------------------- coming to end

void HttpSession::linger() { arm_after(ending_ ? 0 : transport_.options().session_linger_ms); }

void HttpSession::retire() {
  forget_plain();
  if (stream_ != nullptr) {
    session_->suspend();
    std::exchange(stream_, nullptr)->end();
  }
  if (poller_ != nullptr) {
    session_->suspend();
    take_poller()->answer_deferred(error_response(ErrorCode::kReplaced));
  }
  arm_after(kRetiredMs);
}

void HttpSession::on_time() {
  if (poller_ != nullptr) {
    poll_due_ = true;
    mark_dirty();
    return;
  }
  end();
}

void HttpSession::end() {
  ending_ = true;
  transport_.shard().defer_destroy(std::unique_ptr<runtime::Flushable>(this));
}

void HttpSession::on_stop() {
  close(CloseCode::kGoingAway);
  poll_due_ = true;
}

}  // namespace hubbub::transport
