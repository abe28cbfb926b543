-- XEP-0316 on the host of chat rooms: shows the engine who is in them, gives it the requests that are its own, and lets
-- other modules publish as a room. Who may do what is decided by the engine; what it passes on is relayed by mod_muc.

local jid = require "util.jid";
local st = require "util.stanza";

local announce = module:require "announce";
local commands = module:require "commands";
local engine = module:require "engine";
local metrics = module:require "metrics";
local options = module:require "options";
local room_command = module:require "room_command";
local services = module:require "service";
local mod_muc = module:depends "muc";

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";
local xmlns_disco_items = "http://jabber.org/protocol/disco#items";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_pubsub = "http://jabber.org/protocol/pubsub";
local xmlns_pubsub_owner = xmlns_pubsub .. "#owner";

-- Before mod_muc.
local priority = 20;

local host = module.host;
local state, submit = engine.state, engine.submit;

-- As mod_pam_pps has them elsewhere.
new_service = services.new_service;
fire = services.fire;
on_event = false;

-- Facts

local facts = {};

function facts.room(who, room_jid) --> affiliation, whether there is voice
	local room = mod_muc.get_room_from_jid(room_jid);
	if not room then
		return "none", false;
	end
	local occupant = room:get_occupant_by_real_jid(who);
	local role = occupant and occupant.role;
	return room:get_affiliation(who) or "none", role == "participant" or role == "moderator";
end

facts["room-info"] = function (room_jid) --> { name, description, subject }
	local room = mod_muc.get_room_from_jid(room_jid);
	if not room then
		return {};
	end
	local _, subject = room:get_subject();
	return { name = room:get_name(), description = room:get_description(), subject = subject };
end;

local function changed(event)
	submit("room-changed", event.room.jid);
end

module:hook("muc-config-submitted", changed, -1000);
module:hook("muc-broadcast-message", function (event)
	if event.stanza:get_child("subject") then
		changed(event);
	end
end, -1000);

-- Who is there

local shown = {}; -- room -> occupant JID -> real JID -> the presence that the engine was shown
local changing; -- the client that is having another nick now: { room, real, nick }

-- `new`: the nick that the client has from now on.
local function show(room, nick, real, presence, new)
	local stanza = st.presence({ from = nick, to = room.jid, type = not presence and "unavailable" or nil });
	for _, child in ipairs(presence and presence.tags or {}) do
		if child.name == "c" or child.name == "show" then
			stanza:add_child(child);
		end
	end
	stanza:tag("x", { xmlns = xmlns_muc_user }):tag("item", { jid = real, nick = new }):up();
	if new then
		stanza:tag("status", { code = "303" }):up();
	end
	submit("stanza", stanza);
end

-- Shows what is different now about the clients behind a nick.
local function compare(room, nick)
	local occupants = shown[room.jid] or {};
	shown[room.jid] = occupants;
	local before, now = occupants[nick] or {}, {};
	local occupant = room:get_occupant_by_nick(nick);
	if occupant then
		for real, presence in occupant:each_session() do
			if presence.attr.type ~= "unavailable" then
				now[real] = presence;
			end
		end
	end
	for real, presence in pairs(before) do
		if not now[real] then
			local new = changing and changing.room == room and changing.real == real and changing.nick or nil;
			show(room, nick, real, nil, new);
			if new then
				changing = nil;
				local there = room.jid .. "/" .. new;
				occupants[there] = occupants[there] or {};
				occupants[there][real] = presence;
			end
		end
	end
	for real, presence in pairs(now) do
		if before[real] ~= presence then
			show(room, nick, real, presence);
		end
	end
	occupants[nick] = next(now) and now or nil;
	if not next(occupants) then
		shown[room.jid] = nil;
	end
end

-- What mod_muc shows to others is a change of nick only if no other client stays behind under the old one, and none is there
-- under the new one. It carries the change out right after this, unless the nick is somebody else's.
module:hook("muc-occupant-pre-change", function (event)
	local new, real = event.dest_occupant, event.stanza.attr.from;
	changing = nil;
	if event.orig_occupant ~= new and (event.is_first_session or jid.bare(real) == jid.bare(new.bare_jid)) then
		changing = { room = event.room, real = real, nick = jid.resource(new.nick) };
	end
end, -1000);

module:hook("muc-broadcast-presence", function (event)
	compare(event.room, event.occupant.nick);
end, -1000);

module:hook("muc-occupant-left", function (event)
	compare(event.room, event.nick);
end, priority);

local function forget(event)
	shown[event.room.jid] = nil;
	submit("account-removed", event.room.jid);
end

module:hook("muc-room-destroyed", forget, priority);
-- A room of that name may have ended with the server.
module:hook("muc-room-pre-create", forget, priority);

-- Requests

local function take(event)
	if state.reinjected[event.stanza] then
		-- mod_muc sends the same table on, maybe to an account that this module serves.
		state.reinjected[event.stanza] = nil;
		return nil;
	end
	engine.request(event.origin, event.stanza, metrics.count);
	return true;
end

local function concerns_engine(stanza)
	local xmlns = stanza.tags[1].attr.xmlns;
	return xmlns == xmlns_pubsub or xmlns == xmlns_pubsub_owner or xmlns == xmlns_disco_info or xmlns == xmlns_disco_items;
end

local function is_request(stanza)
	return stanza.attr.type == "get" or stanza.attr.type == "set";
end

module:hook("iq/full", function (event)
	local stanza = event.stanza;
	if is_request(stanza) and concerns_engine(stanza) and mod_muc.get_room_from_jid(jid.bare(stanza.attr.to)) then
		return take(event);
	end
end, priority);

-- The nodes of a room stand beside what the room itself lists.
local function list(event, room)
	local stanza = event.stanza;
	local question = st.iq({ type = "get", id = "", from = stanza.attr.from, to = room.jid })
		:tag("query", { xmlns = xmlns_disco_items }):up();
	local answer = engine.ask(question);
	local nodes = answer and answer:get_child("query", xmlns_disco_items);
	local reply = room:get_disco_items(stanza);
	local query = reply:get_child("query", xmlns_disco_items);
	for _, item in ipairs(nodes and nodes.tags or {}) do
		query:add_direct_child(st.clone(item));
	end
	event.origin.send(reply);
	return true;
end

module:hook("iq/bare", function (event)
	local stanza = event.stanza;
	if not is_request(stanza) then
		if stanza.attr.id and stanza.attr.id:sub(1, 4) == "pps-" then
			return take(event);
		end
		return nil;
	end
	local room = concerns_engine(stanza) and mod_muc.get_room_from_jid(stanza.attr.to);
	if not room then
		return nil;
	end
	local query = stanza.tags[1];
	if query.attr.node or query.attr.xmlns == xmlns_pubsub or query.attr.xmlns == xmlns_pubsub_owner then
		return take(event);
	elseif query.attr.xmlns == xmlns_disco_items and stanza.attr.type == "get" then
		return list(event, room);
	end
end, priority);

-- What rooms publish

-- For other modules: publishes `payload` (a stanza) as the room itself. --> id of the item | nil, error
function publish(room_jid, node, payload, id)
	if not mod_muc.get_room_from_jid(room_jid) then
		return nil, "item-not-found";
	end
	local stanza = st.iq({ type = "set", id = "", from = room_jid, to = room_jid })
		:tag("pubsub", { xmlns = xmlns_pubsub }):tag("publish", { node = node }):tag("item", { id = id }):add_child(payload):reset();
	local answer, err = engine.ask(stanza, true);
	if not answer then
		return nil, err;
	elseif answer.attr.type == "error" then
		local _, condition = answer:get_error();
		return nil, condition;
	end
	local published = answer:find("{" .. xmlns_pubsub .. "}pubsub/publish/item");
	return published and published.attr.id or "";
end

-- The same as an event of the host: { room = room, node = node, payload = stanza, id = id or nil }.
module:hook("pam_pps/publish-as-room", function (event)
	return publish(event.room.jid, event.node, event.payload, event.id);
end);

-- Start and end

local serving;

local function start()
	options.check_names(host);
	local ok, err = engine.acquire(module:get_directory(), options.engine_options, options.batch_size());
	if not ok then
		error("cannot open the engine: " .. err, 0);
	end
	serving = true;
	state.domains[host] = {
		facts = facts;
		event = function (...)
			if on_event then
				on_event(...);
			end
		end;
	};
	ok, err = state.engine:serve(host, "rooms", options.service_options("rooms"));
	if not ok then
		error("wrong option: " .. err, 0);
	end
	local identities, features = announce.announced("room");
	module:hook("muc-disco#info", function (event)
		for _, identity in ipairs(identities) do
			event.reply:tag("identity", identity):up();
		end
		for _, feature in ipairs(features) do
			event.reply:tag("feature", { var = feature }):up();
		end
	end);
	for room in mod_muc.live_rooms() do
		for nick in room:each_occupant() do
			compare(room, nick);
		end
	end
end

local function stop()
	if serving then
		serving = false;
		if state.engine then
			state.engine:unserve(host);
		end
		engine.release();
		state.domains[host] = nil;
	end
end

local ok, err = pcall(start);
if not ok then
	stop();
	error(err, 0);
end
commands.add(services.service_for);
room_command.add(publish);
function module.unload()
	commands.remove();
	stop();
end
module:hook_global("server-stopping", engine.close);
