-- Somebody types, or stops.
-- KEYS: who types until when
-- ARGV: verb, channel, user, 1 or 0, until (ms), ttl_ms
if ARGV[4] == '1' then
  redis.call('ZADD', KEYS[1], ARGV[5], ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
else
  redis.call('ZREM', KEYS[1], ARGV[3])
end
redis.call(ARGV[1], ARGV[2], '\1T' .. ARGV[4] .. ' ' .. ARGV[3])
return 1
