#pragma once

#include <netinet/in.h>
#include <sys/epoll.h>
#include <zlib.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "frames.hpp"
#include "histogram.hpp"
#include "marker.hpp"

namespace hubbub::bench {

enum class Mode { kWindow, kRate, kIdle };
enum class Transport { kWebSocket, kSse, kPoll };  // of those who only listen; publishers speak WebSocket

struct Options {
  std::string url = "ws://127.0.0.1:8080";
  unsigned connections = 1000;
  unsigned rooms = 1;
  unsigned publishers = 1;  // members of each room that publish
  Mode mode = Mode::kWindow;
  Transport transport = Transport::kWebSocket;
  unsigned window = 1;
  bool publish_http = false;  // messages go by HTTP over one connection, and `window` counts requests
  unsigned batch = 0;         // messages in a request, 0: one, and not as a batch
  std::string api_key;
  double rate = 0;  // messages a second in total
  unsigned size = 128;
  double warmup_s = 1;
  double duration_s = 10;
  std::vector<std::string> source_addresses;
  unsigned connect_concurrency = 64;
  double connect_rate = 0;  // connects a second, 0 = as fast as it goes
  bool deflate = false;
  bool join = true;
  bool spin = false;
  bool progress = false;
  int server_pid = 0;
  std::string user_prefix = "bench-";
  std::string room_prefix = "bench-";
  double setup_timeout_s = 60;
  double stall_timeout_s = 5;
};

struct Report {
  unsigned connected = 0;
  unsigned joined = 0;
  double connect_s = 0;
  double join_s = 0;
  double measured_s = 0;
  std::uint64_t messages_sent = 0;       // warm-up included, as in the seven after it
  std::uint64_t messages_completed = 0;  // reached every member
  std::uint64_t lost = 0;                // deliveries that never came
  std::uint64_t duplicates = 0;
  std::uint64_t reordered = 0;
  std::uint64_t misrouted = 0;   // came to a connection outside the room
  std::uint64_t corrupt = 0;     // a message event without one of our whole markers
  std::uint64_t foreign = 0;     // another run's markers: not a fault
  std::uint64_t deliveries = 0;  // in the measured time
  std::uint64_t requests = 0;    // answered in the measured time
  std::uint64_t late = 0;        // rate: left more than a millisecond after the schedule
  std::uint64_t behind = 0;      // rate: left when the next one was due already
  std::uint64_t unsent = 0;      // rate: fell due and never left: too many outstanding, or nobody to say it
  std::uint64_t max_outstanding = 0;
  std::uint64_t disconnects = 0;
  std::uint64_t errors = 0;  // error events, broken frames and bad answers
  std::string first_error;
  bool stalled = false;
  bool failed = false;  // could not connect or join everybody
  std::optional<double> server_cpu_s;
  std::optional<double> server_cpu_connect_s;
  double generator_cpu_s = 0;
  std::optional<std::int64_t> rss_before;
  std::optional<std::int64_t> rss_connected;
  std::optional<std::int64_t> rss_end;
  Histogram latency;  // of deliveries; by HTTP: of answers

  bool good() const {
    return !failed && !stalled &&
           lost + duplicates + reordered + misrouted + corrupt + errors + disconnects + unsent == 0;
  }
};

// One load on one thread. Everything that runs for each delivery works on arrays and the one read buffer.
class Generator {
 public:
  explicit Generator(Options options);
  ~Generator();
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  // Throws std::runtime_error when the options do not fit together or the address means nothing.
  Report run();

 private:
  enum class State : std::uint8_t { kNone, kConnecting, kUpgrading, kOpen, kJoining, kJoined, kClosed };

  struct Connection {
    int fd = -1;
    State state = State::kNone;
    bool wants_write = false;
    bool in_dirty = false;
    std::uint32_t room = 0;
    std::string partial;    // an unfinished frame or response
    std::string out;        // what is still to be written
    std::string fragments;  // of an unfinished fragmented message
  };

  // A message on its way; exactly a cache line. The text is compared with what arrives, so no digit may be wrong.
  struct alignas(64) Slot {
    char marker[kMarkerSize];
    std::uint8_t in_use = 0;
    std::uint32_t stream = 0;
    std::uint32_t local = 0;  // 1, 2, ... in its stream
    std::uint32_t remaining = 0;
    std::uint32_t room = 0;
    std::int64_t time_ns = 0;
  };
  static_assert(sizeof(Slot) == 64);

  // One publisher of one room: its messages arrive in the order of their local numbers.
  struct Stream {
    std::uint32_t connection = 0;
    std::uint32_t room = 0;
    std::uint32_t sent = 0;
    std::string command_head;
  };

  // A request that waits for its answer; answers come in the order of the requests.
  struct Request {
    std::int64_t time_ns = 0;
    std::uint32_t messages = 0;
  };

  struct Room {
    std::string name;
    std::uint32_t members = 0;     // those still connected
    std::uint32_t content_at = 0;  // where the content was in the last event: it nearly always is there again
  };

  void resolve();
  void prepare();
  void connect_all();
  void join_all();
  void settle();
  void hold();
  void publish_all();
  void close_all();

  void start_connect(std::uint32_t index);
  bool publish_one(std::int64_t time_ns);
  const Slot& next_slot(std::int64_t time_ns);
  void open_publisher();
  bool publish_request(std::int64_t time_ns);
  bool is_publisher(std::uint32_t index) const { return options_.publish_http && index == options_.connections; }
  void read_answers(std::uint32_t index, const char* data, std::size_t size);
  void on_answer(std::string_view head, std::string_view body);
  std::uint64_t progress() const { return delivered_ + answered_; }
  void begin_measuring(std::int64_t now_ns);
  void end_measuring(std::int64_t now_ns);

  void turn(std::int64_t timeout_ns);
  void on_readable(std::uint32_t index);
  std::size_t on_response(std::uint32_t index, const char* data, std::size_t size);
  void on_rare_frame(std::uint32_t index, const Frame& frame);
  void on_text(std::uint32_t index, const char* data, std::size_t size);
  bool is_listener(std::uint32_t index) const;
  std::string listener_request(std::uint32_t index) const;
  void read_stream(std::uint32_t index, const char* data, std::size_t size);
  std::size_t on_stream_head(std::uint32_t index, const char* data, std::size_t size);
  void read_poll(std::uint32_t index, const char* data, std::size_t size);
  void listener_joined(std::uint32_t index);
  void on_message(std::uint32_t index, const char* data, std::size_t size);
  void on_unusual_delivery(std::size_t place, Slot& slot);
  void count_delivery(Slot& slot);
  void on_other_event(std::uint32_t index, std::string_view text);
  void drop(std::uint32_t index, const std::string& why);
  void fail(const std::string& why);
  std::string_view inflate_text(const char* data, std::size_t size);

  void queue(std::uint32_t index, unsigned opcode, std::string_view first, std::string_view second = {},
             std::string_view third = {});
  void flush_dirty();
  void flush(std::uint32_t index);
  void watch(int operation, std::uint32_t index, std::uint32_t what);
  void show_progress(const char* phase, std::int64_t now_ns);

  const Options options_;
  Report report_;
  sockaddr_storage server_{};
  socklen_t server_size_ = 0;
  std::vector<sockaddr_storage> sources_;
  std::string request_head_;
  std::string request_tail_;
  std::string host_line_;
  std::string accept_;

  int epoll_ = -1;
  std::vector<epoll_event> events_;
  std::vector<Connection> connections_;
  std::vector<Room> rooms_;
  std::vector<Stream> streams_;
  std::vector<std::uint32_t> last_;  // [connection * publishers + publisher]: the last local number that came
  std::vector<Slot> slots_;
  std::uint64_t slot_mask_ = 0;
  std::vector<std::uint32_t> dirty_;
  std::unique_ptr<char[]> buffer_;
  std::size_t buffer_size_ = 0;
  std::deque<Request> unanswered_;
  std::string http_head_;  // of every request, behind its target
  std::string body_;
  std::string content_tail_;  // padding, the content's closing quote, and the command's brace
  std::string run_marker_;    // what the marker of each message of this run starts with
  z_stream inflater_{};
  bool inflater_ready_ = false;
  std::string inflated_;

  std::uint64_t run_id_ = 0;
  std::uint64_t next_message_ = 0;
  std::uint32_t next_stream_ = 0;
  std::uint64_t outstanding_ = 0;
  std::uint64_t delivered_ = 0;
  std::uint64_t delivered_before_ = 0;
  std::uint64_t answered_ = 0;
  std::uint64_t answered_before_ = 0;
  std::int64_t now_ns_ = 0;  // read after each recv
  std::int64_t measure_from_ns_ = INT64_MAX;
  std::int64_t measure_started_ns_ = 0;
  double generator_cpu_before_ = 0;
  std::optional<double> server_cpu_before_;
  bool closing_ = false;
  unsigned handshaking_ = 0;
  unsigned joining_ = 0;
  std::uint64_t events_seen_ = 0;
  std::int64_t progress_ns_ = 0;
  std::uint64_t progress_delivered_ = 0;
  bool progress_shown_ = false;
  std::mt19937_64 random_;
  // Numbers that were jumped over, by place in last_. Only a faulty server puts anything here.
  std::map<std::size_t, std::set<std::uint32_t>> missing_;
};

std::int64_t monotonic_ns();

}  // namespace hubbub::bench
