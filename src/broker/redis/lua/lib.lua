-- Numbers above 1e14 would be written as 1e+14.
local function whole(number) return string.format('%.0f', number) end

-- An entry of a stream: its seq, and its fields by name.
local function parsed(entry)
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  return tonumber(string.match(entry[1], '^%d+')), fields
end

-- What an entry counts for in a stream's bytes.
local function cost(payload) return #payload + 96 end

-- Drops entries from the front while drop(seq, fields, bytes left in the stream, entries left) says so; gives the bytes left.
local function trim(stream, bytes, drop)
  local left = redis.call('XLEN', stream)
  while left > 0 do
    local entries = redis.call('XRANGE', stream, '-', '+', 'COUNT', 64)
    for _, entry in ipairs(entries) do
      local seq, fields = parsed(entry)
      if not drop(seq, fields, bytes, left) then
        redis.call('XTRIM', stream, 'MINID', whole(seq) .. '-0')
        return bytes
      end
      bytes = bytes - cost(fields.p)
      left = left - 1
    end
    if left > 0 then redis.call('XTRIM', stream, 'MINID', whole(parsed(entries[#entries]) + 1) .. '-0') end
  end
  redis.call('DEL', stream)
  return 0
end
