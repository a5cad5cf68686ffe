-- A node has its first session of a user in a room.
-- KEYS: members (by name), this node's members, users who are there by several nodes (how many more)
-- ARGV: verb, channel, user, how many members to name
-- Gives: the number of members, their names
if redis.call('SADD', KEYS[2], ARGV[3]) == 1 then
  if redis.call('ZADD', KEYS[1], 'NX', 0, ARGV[3]) == 1 then
    redis.call(ARGV[1], ARGV[2], '\1J' .. redis.call('ZCARD', KEYS[1]) .. ' ' .. ARGV[3])
  else
    redis.call('HINCRBY', KEYS[3], ARGV[3], 1)
  end
end
local names = {}
if tonumber(ARGV[4]) > 0 then names = redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[4]) - 1) end
return {redis.call('ZCARD', KEYS[1]), names}
