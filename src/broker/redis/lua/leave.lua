-- A node's last session of these users has left a room; without names: so many of the node's users as ARGV[3] says,
-- because the node is no more.
-- KEYS: members, the node's members, users who are there by several nodes
-- ARGV: verb, channel, how many at most, users...
-- Gives: how many of the node's members are left
local users = {}
if #ARGV > 3 then
  for i = 4, #ARGV do
    if redis.call('SREM', KEYS[2], ARGV[i]) == 1 then users[#users + 1] = ARGV[i] end
  end
else
  users = redis.call('SPOP', KEYS[2], ARGV[3])
end
for _, user in ipairs(users) do
  local more = redis.call('HGET', KEYS[3], user)
  if more then
    if tonumber(more) <= 1 then redis.call('HDEL', KEYS[3], user) else redis.call('HINCRBY', KEYS[3], user, -1) end
  elseif redis.call('ZREM', KEYS[1], user) == 1 then
    redis.call(ARGV[1], ARGV[2], '\1L' .. redis.call('ZCARD', KEYS[1]) .. ' ' .. user)
  end
end
return redis.call('SCARD', KEYS[2])
