-- Presence that was sent before this module was there: the server's own sessions are shown to the engine, contacts
-- elsewhere are asked, as for a client that logs in (RFC 6121, section 4.3.1).

local jid = require "util.jid";
local st = require "util.stanza";

local engine = module:require "engine";
local submit = engine.submit;

local host = module.host;
local hosts = prosody.hosts;

-- A contact elsewhere answers the probe of a client that logs in to that client alone; the account has to know as well.
local function on_answer(event)
	local stanza, session = event.stanza, prosody.full_sessions[event.stanza.attr.to];
	local from, to = stanza.attr.from, stanza.attr.to;
	if stanza.attr.type ~= nil or not (session and session.roster) or not jid.resource(from) then
		return;
	end
	local domain = hosts[jid.host(from)];
	local item = not (domain and domain.type == "local") and session.roster[jid.bare(from)];
	if item and (item.subscription == "both" or item.subscription == "to") then
		stanza.attr.to = jid.bare(to);
		submit("stanza", stanza);
		stanza.attr.to = to;
	end
end

if module:get_host_type() ~= "component" then
	module:hook("presence/full", on_answer, 20);
end

local function sessions() --> { session, ... } of all accounts of this server that are available
	local found = {};
	for _, domain in pairs(hosts) do
		for _, user in pairs(domain.sessions or {}) do
			for _, session in pairs(user.sessions) do
				if session.presence then
					table.insert(found, session);
				end
			end
		end
	end
	return found;
end

local function show(session, to)
	local presence = st.clone(session.presence);
	presence.attr.from, presence.attr.to = session.full_jid, to;
	submit("stanza", presence);
end

-- Calls coroutine.yield() after each thing done.
local function catch_up()
	local probed = {};
	for _, session in ipairs(sessions()) do
		local own = session.host == host;
		if own then
			show(session, nil);
			coroutine.yield();
		end
		-- A copy: the roster may change while the loop goes on.
		local contacts = {};
		for contact, item in pairs(session.roster or {}) do
			if contact then
				contacts[contact] = item.subscription;
			end
		end
		local probe_as = own and session.username .. "@" .. host;
		for contact, subscription in pairs(contacts) do
			if not session.presence then
				break; -- gone meanwhile
			end
			local domain = jid.host(contact);
			if domain == host then
				if subscription == "both" or subscription == "from" then
					show(session, contact);
					coroutine.yield();
				end
			elseif probe_as and not (hosts[domain] and hosts[domain].type == "local") then
				if (subscription == "both" or subscription == "to") and not probed[probe_as .. " " .. contact] then
					probed[probe_as .. " " .. contact] = true;
					module:send(st.presence({ type = "probe", from = probe_as, to = contact }));
					coroutine.yield();
				end
			end
		end
		for to in pairs(session.presence and session.directed or {}) do
			if jid.bare(to) == host or (jid.host(to) == host and not jid.resource(to)) then
				show(session, to);
			end
		end
	end
end

local function start(batch_size) -- presences and probes before the loop is handed back
	local step = coroutine.wrap(function ()
		catch_up();
		return true;
	end);
	module:add_timer(0, function ()
		for _ = 1, batch_size do
			if step() then
				return nil;
			end
		end
		return 0.001;
	end);
end

return { start = start };
