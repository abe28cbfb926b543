-- Publish-subscribe by libpam_pps: personal eventing, account-managed and public subscriptions on a host; the pubsub
-- service as a component. This file hooks, converts and sends; the engine decides.

if prosody.process_type == "prosodyctl" then
	function module.command(arg)
		return module:require "import_command" (arg);
	end
	return;
end

if module:get_option_string("component_module") == "muc" then
	return module:require "rooms";
end

local jid = require "util.jid";
local rostermanager = require "core.rostermanager";
local st = require "util.stanza";

local options = module:require "options";
local announce = module:require "announce";
local commands = module:require "commands";
local facts = module:require "facts";
local engine = module:require "engine";
local import = module:require "import";
local metrics = module:require "metrics";
local presence = module:require "presence";
local services = module:require "service";

local xmlns_commands = "http://jabber.org/protocol/commands";
local xmlns_disco_info = "http://jabber.org/protocol/disco#info";
local xmlns_disco_items = "http://jabber.org/protocol/disco#items";
local xmlns_forms = "jabber:x:data";
local xmlns_mam = "urn:xmpp:mam:2";
local xmlns_pam = "urn:xmpp:pam:0";
local xmlns_pps = "urn:xmpp:pps:";
local xmlns_pubsub = "http://jabber.org/protocol/pubsub";
local xmlns_pubsub_event = xmlns_pubsub .. "#event";
local xmlns_pubsub_owner = xmlns_pubsub .. "#owner";

-- Before the handlers of Prosody's own modules.
local priority = 20;
-- Pubsub requests to accounts: before mod_pep (0), behind mod_bookmarks (1), which takes its legacy node's out.
local pubsub_priority = 0.5;

local host = module.host;
local is_component = module:get_host_type() == "component";
local kind = is_component and "component" or "accounts";
local state, submit = engine.state, engine.submit;

-- For the replacements of mod_pep and mod_pubsub: service objects as util.pubsub makes them, and a place for a function that
-- hears what the engine did: on_event(name, service JID, node, item id, actor, function that gives the payload).
new_service = services.new_service;
fire = services.fire;
on_event = false;

-- Requests

-- Gives the stanza to the engine, which answers it or passes it on.
local function take(event)
	if state.reinjected[event.stanza] then
		return nil;
	end
	engine.request(event.origin, event.stanza, metrics.count);
	return true;
end

-- Shows the stanza to the engine; others handle it too.
local function feed(event)
	if not state.reinjected[event.stanza] then
		submit("stanza", event.stanza);
	end
end

local function is_ours(stanza) --> an answer to a request of the engine
	return stanza.attr.id ~= nil and stanza.attr.id:sub(1, 4) == "pps-";
end

local function is_get_pending(stanza)
	local command = stanza.tags[1];
	return command.attr.xmlns == xmlns_commands and (command.attr.node or ""):sub(1, #xmlns_pubsub) == xmlns_pubsub;
end

-- Archives of nodes that the engine makes up; the others are the host's.
local function is_archive_query(stanza)
	local query = stanza.tags[1];
	local node = query.attr.node;
	return query.attr.xmlns == xmlns_mam and node ~= nil and (node == xmlns_pam or node:sub(1, #xmlns_pps) == xmlns_pps);
end

local function account_of(event) --> username
	return event.stanza.attr.to and jid.node(event.stanza.attr.to) or event.origin.username;
end

-- Prosody answers owner and contacts about an account; strangers must learn nothing, not even whether it exists.
local function answered_by_host(event)
	local stanza = event.stanza;
	local node = stanza.tags[1].attr.node;
	if node ~= nil and node ~= "" then
		return is_component and node:find("http://prosody.im#", 1, true) == 1; -- its capabilities
	end
	return is_component or stanza.attr.to == nil
		or rostermanager.is_contact_subscribed(account_of(event), host, jid.bare(stanza.attr.from));
end

local function hook_iqs(place)
	module:hook("iq/" .. place, function (event)
		local stanza = event.stanza;
		local type, child = stanza.attr.type, stanza.tags[1];
		if type == "result" or type == "error" then
			if is_ours(stanza) then
				return take(event);
			end
			return nil;
		end
		local xmlns = child.attr.xmlns;
		if xmlns == xmlns_pam or xmlns == xmlns_pam .. "#filter" or (xmlns == xmlns_commands and is_get_pending(stanza))
		or is_archive_query(stanza) then
			return take(event);
		elseif place == "bare" or is_component then
			if xmlns == xmlns_disco_items or (xmlns == xmlns_disco_info and not answered_by_host(event)) then
				return take(event);
			elseif is_component and (xmlns == xmlns_pubsub or xmlns == xmlns_pubsub_owner) then
				return take(event);
			end
		end
	end, priority);
end

hook_iqs("host");
hook_iqs("bare");
if is_component then
	hook_iqs("full");
else
	-- Before mod_mam, which takes every query of an account to itself.
	module:hook("iq/self", function (event)
		local type = event.stanza.attr.type;
		if (type == "get" or type == "set") and is_archive_query(event.stanza) then
			return take(event);
		end
	end, priority);
	module:hook("iq/bare/" .. xmlns_pubsub .. ":pubsub", take, pubsub_priority);
	module:hook("iq/bare/" .. xmlns_pubsub_owner .. ":pubsub", take, pubsub_priority);
end

-- Messages

local function on_message(event)
	local stanza = event.stanza;
	if stanza.attr.type == "error" then
		return feed(event);
	end
	local form = stanza:get_child("x", xmlns_forms);
	if (form and (form.attr.type == "submit" or form.attr.type == "cancel"))
	or (not is_component and stanza:get_child("event", xmlns_pubsub_event)) then
		if state.reinjected[stanza] then
			return nil;
		end
		-- Whoever sends it may use the same table for the next recipient.
		engine.request(event.origin, st.clone(stanza), metrics.count);
		return true;
	end
end

module:hook("message/host", on_message, priority);
module:hook("message/bare", on_message, priority);
if is_component then
	module:hook("message/full", on_message, priority);
else
	-- An event for one client goes on to it; what a service elsewhere says there may concern the account as well.
	module:hook("message/full", function (event)
		local stanza = event.stanza;
		if stanza:get_child("event", xmlns_pubsub_event) and stanza.attr.type ~= "error"
		and not state.domains[jid.host(stanza.attr.from)] then
			feed(event);
		end
	end, priority);
end

-- Presence and rosters

-- The roster changes while this stanza is handled: the engine hears of it in the next turn of the loop.
local function roster_changes(username, contact)
	module:add_timer(0, function ()
		submit("roster-changed", username .. "@" .. host, jid.bare(contact));
	end);
end

local subscription_types = { subscribe = true, subscribed = true, unsubscribe = true, unsubscribed = true };

if is_component then
	for _, place in ipairs({ "host", "bare", "full" }) do
		module:hook("presence/" .. place, feed, priority);
	end
else
	module:hook("presence/bare", function (event)
		local type, to = event.stanza.attr.type, event.stanza.attr.to;
		if type == nil or type == "unavailable" or type == "error" then
			return feed(event);
		elseif to and subscription_types[type] then
			roster_changes(jid.node(to), event.stanza.attr.from);
		end
	end, priority);

	local function on_outgoing(event)
		local to, username = event.stanza.attr.to, event.origin.username;
		if to and username and subscription_types[event.stanza.attr.type] then
			roster_changes(username, to);
		end
	end
	for _, place in ipairs({ "bare", "full", "host" }) do
		module:hook("pre-presence/" .. place, on_outgoing, priority);
	end

	module:hook("iq/self/jabber:iq:roster:query", function (event)
		for item in event.stanza.tags[1]:childtags("item") do
			local contact = jid.prep(item.attr.jid);
			if contact then
				roster_changes(event.origin.username, contact);
			end
		end
	end, priority);

	module:hook("resource-unbind", function (event)
		-- Also where presence has said it: of what is a node (XEP-0207), the account and its rooms hear by this alone.
		if event.session.full_jid then
			submit("session-ended", event.session.full_jid);
		end
	end, priority);

	module:hook_global("user-deleted", function (event)
		if event.host == host then
			submit("account-removed", event.username .. "@" .. host);
		end
	end);
end

-- Start and end

facts.import = import.import;

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
	ok, err = state.engine:serve(host, kind, options.service_options(kind));
	if not ok then
		error("wrong option: " .. err, 0);
	end
	announce.start(kind);
	presence.start(options.batch_size());
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
module.unload = function ()
	commands.remove();
	stop();
end
module:hook_global("server-stopping", engine.close);
