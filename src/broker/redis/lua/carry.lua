-- Tells an event that is not kept.
-- KEYS: head
-- ARGV: verb, channel, payload
-- Gives: the stream's epoch, or nil
redis.call(ARGV[1], ARGV[2], '\1E' .. ARGV[3])
return redis.call('HGET', KEYS[1], 'e')
