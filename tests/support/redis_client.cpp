#include "support/redis_client.hpp"

#include "support/redis_server.hpp"

namespace hubbub::test {

namespace {

using Clock = std::chrono::steady_clock;

std::int64_t ms_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
}

}  // namespace

RedisClient::RedisClient(broker::redis::ClientOptions options, std::vector<const broker::redis::Script*> scripts)
    : client_(std::make_unique<broker::redis::Client>(io_, std::move(options), std::move(scripts),
                                                      static_cast<broker::redis::ClientSink&>(*this))) {}

RedisClient::~RedisClient() = default;

bool RedisClient::run_until(const std::function<bool()>& holds, std::chrono::milliseconds limit) {
  const auto end = Clock::now() + limit * slowness();
  while (!holds()) {
    if (Clock::now() >= end) return false;
    if (io_.stopped()) io_.restart();
    io_.run_one_until(std::min(end, Clock::now() + std::chrono::milliseconds(20)));
  }
  return true;
}

void RedisClient::run_for(std::chrono::milliseconds time) {
  const auto end = Clock::now() + time;
  run_until([&] { return Clock::now() >= end; }, time * 2);
}

RedisClient::AnswerPtr RedisClient::send(std::string_view route, const std::vector<std::string>& words) {
  Command command(words.size());
  for (const std::string& word : words) command.add(word);
  return send(route, std::move(command));
}

RedisClient::AnswerPtr RedisClient::send(std::string_view route, Command command) {
  auto answer = std::make_shared<Answer>();
  client_->send(route, std::move(command), [answer, start = Clock::now()](base::Result<broker::redis::Reply> result) {
    answer->done = true;
    answer->after_ms = ms_since(start);
    if (result) {
      answer->reply = *result;
    } else {
      answer->error = result.error();
    }
  });
  return answer;
}

RedisClient::Answer RedisClient::call(std::string_view route, const std::vector<std::string>& words) {
  const AnswerPtr answer = send(route, words);
  run_until([&] { return answer->done; }, std::chrono::seconds(30));
  return *answer;
}

RedisClient::AnswerPtr RedisClient::subscribe(std::string_view channel) {
  auto answer = std::make_shared<Answer>();
  client_->subscribe(channel, [answer, start = Clock::now()](base::Result<void> result) {
    answer->done = true;
    answer->after_ms = ms_since(start);
    if (!result) answer->error = result.error();
  });
  return answer;
}

void RedisClient::on_message(std::string_view channel, std::string_view payload) {
  messages.emplace_back(channel, payload);
  if (on_any_message) on_any_message();
}

}  // namespace hubbub::test
