#include <boost/container/small_vector.hpp>
#include <utility>

#include "hubbub/hub/connection_manager.hpp"
#include "hubbub/hub/home_shard.hpp"
#include "hubbub/hub/node_questions.hpp"
#include "hubbub/hub/session_shard.hpp"

// What backends ask: how it gets to the shards, and how their answers get back.
namespace hubbub::hub {

std::string_view status_name(Status status) {
  switch (status) {
    case Status::kOnline:
      return "online";
    case Status::kBusy:
      return "busy";
    case Status::kAway:
      return "away";
    case Status::kOffline:
      break;
  }
  return "offline";
}

// HOT PATH
void ConnectionManager::publish(unsigned from, std::vector<BackendPublish> items, PublishDone done) {
  auto gather = std::make_shared<PublishGather>();
  gather->results.resize(items.size());
  gather->done = std::move(done);
  boost::container::small_vector<std::shared_ptr<PublishPart>, 8> parts(shards_.size());
  for (std::uint32_t place = 0; place < items.size(); ++place) {
    auto& part = parts[home_index(items[place].stream.id)];
    if (!part) {
      part = std::make_shared<PublishPart>();
      part->from = from;
      part->gather = gather;
      ++gather->waiting;
    }
    part->items.push_back(std::move(items[place]));
    part->places.push_back(place);
  }
  for (unsigned index = 0; index < parts.size(); ++index) {
    const auto& part = parts[index];
    if (!part || shards_[index].try_post([home = homes_[index].get(), part] { home->publish(part); })) continue;
    --gather->waiting;
    for (const std::uint32_t place : part->places) gather->results[place].error = protocol::ErrorCode::kOverloaded;
  }
  if (gather->waiting == 0) gather->done(gather->results);
}

void ConnectionManager::order_sessions(unsigned from, const base::SharedString& user, SessionOrder order,
                                       Tally::Done done) {
  auto tally = std::make_shared<Tally>();
  tally->from = from;
  if (node_ == 0) {
    tally->done = std::move(done);
    return post_home(user,
                     [user, order = std::move(order), tally](HomeShard& home) { home.order(user, order, tally); });
  }
  const auto question = std::make_shared<const std::string>(NodeQuestion::order(user.view(), order));
  auto shared_done = std::make_shared<Tally::Done>(std::move(done));
  // `from` asks the other nodes when this one has answered.
  tally->done = [this, from, user = user, question, shared_done](const base::Result<std::size_t>& here) {
    HomeShard& home = *homes_[from];
    home.nodes_of(user,
                  [&home, question, shared_done, count = here ? *here : 0](const std::vector<broker::NodeTag>& nodes) {
                    home.ask_nodes(nodes, *question, [shared_done, count](const std::vector<std::string>& answers) {
                      (*shared_done)(count + NodeQuestion::sum_of(answers));
                    });
                  });
  };
  post_home(user, [user, order = std::move(order), tally](HomeShard& home) { home.order(user, order, tally); });
}

void ConnectionManager::erase_room(unsigned from, const base::SharedString& room, Tally::Done done) {
  auto tally = std::make_shared<Tally>();
  tally->from = from;
  tally->done = add_other_nodes(from, NodeQuestion::about(NodeAsk::kRemoveAll, room.view()), std::move(done));
  post_home(room, [room, tally = std::move(tally)](HomeShard& home) { home.erase_room(room, tally); });
}

/// `done` for what this node counts: adds what the other nodes do.
Tally::Done ConnectionManager::add_other_nodes(unsigned from, std::string question, Tally::Done done) {
  if (node_ == 0) return done;
  auto shared_done = std::make_shared<Tally::Done>(std::move(done));
  return [this, from, question = std::make_shared<const std::string>(std::move(question)),
          shared_done](const base::Result<std::size_t>& here) {
    if (!here) return (*shared_done)(here.error());
    homes_[from]->ask_all_nodes(*question, [shared_done, count = *here](const std::vector<std::string>& answers) {
      (*shared_done)(count + NodeQuestion::sum_of(answers));
    });
  };
}

void ConnectionManager::broadcast(unsigned from, std::string json, Tally::Done done) {
  if (node_ != 0) done = add_other_nodes(from, NodeQuestion::about(NodeAsk::kBroadcast, json), std::move(done));
  broadcast_here(from, std::move(json), std::move(done));
}

void ConnectionManager::broadcast_here(unsigned from, std::string json, Tally::Done done) {
  auto made = std::make_shared<Event>();
  made->json = std::move(json);
  made->lane = Lane::kEphemeral;
  // None replaces another: who is away for a moment, as a poller is between two polls, gets them all.
  made->conflate_key = "broadcast " + std::to_string(broadcasts_.fetch_add(1, std::memory_order_relaxed));
  const EventRef event = std::move(made);
  auto tally = std::make_shared<Tally>();
  tally->done = std::move(done);
  const std::size_t parts = shards_.size();
  for (unsigned index = 0; index < parts; ++index) {
    SessionShard* side = sessions_[index].get();
    const bool posted = shards_[index].try_post([this, side, event, from, tally, parts] {
      const std::size_t count = side->broadcast(event);
      shards_[from].post([tally, count, parts] { tally->add(count, parts); });
    });
    if (posted) continue;
    side->count_dropped();
    shards_[from].post([tally, parts] { tally->add(0, parts); });
  }
}

}  // namespace hubbub::hub
