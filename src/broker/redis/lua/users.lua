-- What the nodes say of users, and when they were last seen.
-- KEYS: for each user: the user by node, last seen
-- Gives: for each user: {lease, word, ...}, when or false
local out = {}
for i = 1, #KEYS, 2 do
  out[#out + 1] = redis.call('HGETALL', KEYS[i])
  out[#out + 1] = redis.call('GET', KEYS[i + 1]) or ''
end
return out
