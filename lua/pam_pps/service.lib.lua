-- The service object that other modules know from util.pubsub, on the engine: each call is a request like those on the
-- wire, made inside the process. `actor` is a JID, or true for a module that may do everything.

local cache = require "util.cache";
local events = require "util.events";
local id = require "util.id";
local jid = require "util.jid";
local st = require "util.stanza";

local engine = module:require "engine";
local fields = module:require "fields";

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";
local xmlns_disco_items = "http://jabber.org/protocol/disco#items";
local xmlns_errors = "http://jabber.org/protocol/pubsub#errors";
local xmlns_forms = "jabber:x:data";
local xmlns_pubsub = "http://jabber.org/protocol/pubsub";
local xmlns_event = xmlns_pubsub .. "#event";
local xmlns_options = xmlns_pubsub .. "#publish-options";
local xmlns_owner = xmlns_pubsub .. "#owner";
local xmlns_rsm = "http://jabber.org/protocol/rsm";

-- Pubsub conditions that are errors of their own in util.pubsub.
local own_conditions = {
	["not-subscribed"] = true, ["precondition-not-met"] = true, ["invalid-options"] = true, ["nodeid-required"] = true;
	["invalid-jid"] = true, ["jid-required"] = true;
};

local service_mt = {};
local methods = {};
service_mt.__index = methods;

-- Requests

-- Somebody without an address here, for instance a visitor by HTTP.
local nobody = "nobody.invalid";

local function sender(service, actor) --> from, privileged
	if actor == true then
		return service.jid, true;
	end
	return type(actor) == "string" and jid.prep(actor) or nobody, false;
end

local function error_of(reply) --> util.pubsub's name of the error
	local _, condition = reply:get_error();
	local tag = reply:get_child("error");
	tag = tag and tag:child_with_ns(xmlns_errors);
	if tag and own_conditions[tag.name] then
		return tag.name;
	elseif condition == "service-unavailable" or condition == "remote-server-not-found" then
		return "item-not-found";
	end
	return condition or "internal-server-error";
end

local function ask(service, actor, type, content) --> reply | nil, err
	local from, privileged = sender(service, actor);
	local reply = engine.ask(st.iq({ type = type, id = "", from = from, to = service.jid }):add_child(content), privileged);
	if not reply then
		return nil, "internal-server-error";
	elseif reply.attr.type == "error" then
		return nil, error_of(reply);
	end
	return reply;
end

local function pubsub(xmlns) --> stanza
	return st.stanza("pubsub", { xmlns = xmlns or xmlns_pubsub });
end

-- For the methods that only succeed or fail.
local function result(reply, err) --> true | false, err
	if reply then
		return true;
	end
	return false, err;
end

-- Nodes

function methods:create(node, actor, options) --> true | false, err
	local content = pubsub():tag("create", { node = node }):up();
	if options and next(options) ~= nil then
		content:tag("configure"):add_child(fields.to_form(options)):up();
	end
	return result(ask(self, actor, "set", content));
end

function methods:delete(node, actor) --> true | false, err
	return result(ask(self, actor, "set", pubsub(xmlns_owner):tag("delete", { node = node }):up()));
end

function methods:purge(node, actor) --> true | false, err
	return result(ask(self, actor, "set", pubsub(xmlns_owner):tag("purge", { node = node }):up()));
end

local function node_object(service, node)
	return setmetatable({ name = node }, {
		__index = function (object, key)
			local value;
			if key == "config" then
				value = select(2, service:get_node_config(node, true));
				value = type(value) == "table" and value or {};
			elseif key == "affiliations" then
				value = service:get_affiliations(node);
			elseif key == "subscribers" then
				value = {};
				local ok, subscriptions = service:get_subscriptions(node, true);
				for _, subscription in ipairs(ok and subscriptions or {}) do
					value[subscription.jid] = subscription.subscription;
				end
			end
			rawset(object, key, value);
			return value;
		end;
	});
end

function methods:get_nodes(actor) --> true, { name -> node } | false, err
	local nodes, after, seen = {}, nil, 0;
	repeat
		local content = st.stanza("query", { xmlns = xmlns_disco_items });
		if after then
			content:tag("set", { xmlns = xmlns_rsm }):text_tag("after", after):up();
		end
		local reply, err = ask(self, actor, "get", content);
		if not reply then
			return false, err;
		end
		local query = reply:get_child("query", xmlns_disco_items);
		local before = seen;
		for item in query:childtags("item") do
			if item.attr.node then
				nodes[item.attr.node] = nodes[item.attr.node] or node_object(self, item.attr.node);
				seen = seen + 1;
			end
		end
		local set = query:get_child("set", xmlns_rsm);
		after = set and set:get_child_text("last");
		local total = set and tonumber(set:get_child_text("count"));
	until not after or seen == before or (total and seen >= total)
	return true, nodes;
end

function methods:get_node_config(node, actor) --> true, config | false, err
	local reply, err = ask(self, actor, "get", pubsub(xmlns_owner):tag("configure", { node = node }):up());
	if not reply then
		return false, err;
	end
	local form = reply:find("{" .. xmlns_owner .. "}pubsub/configure/{" .. xmlns_forms .. "}x");
	return true, form and fields.from_form(form) or {};
end

function methods:set_node_config(node, actor, config) --> true | false, err
	local content = pubsub(xmlns_owner):tag("configure", { node = node }):add_child(fields.to_form(config)):up();
	return result(ask(self, actor, "set", content));
end

function methods:get_node_metadata(node, actor) --> true, metadata | false, err
	local reply, err = ask(self, actor, "get", st.stanza("query", { xmlns = xmlns_disco_info, node = node }));
	if not reply then
		return false, err;
	end
	local form = reply:find("{" .. xmlns_disco_info .. "}query/{" .. xmlns_forms .. "}x");
	return true, form and fields.from_form(form) or {};
end

-- Items

function methods:publish(node, actor, item_id, item, requested_config) --> true | false, err
	if not st.is_stanza(item) or item.name ~= "item" then
		return false, "invalid-item";
	end
	item = st.clone(item);
	item.attr.xmlns, item.attr.id, item.attr.publisher = xmlns_pubsub, item_id, nil;
	local content = pubsub():tag("publish", { node = node }):add_child(item):up();
	if requested_config and requested_config._defaults_only then
		local created, err = self:create(node, actor, requested_config);
		if not created and err ~= "conflict" then
			return false, err;
		end
	elseif requested_config and next(requested_config) ~= nil then
		content:tag("publish-options"):add_child(fields.to_form(requested_config, xmlns_options)):up();
	end
	return result(ask(self, actor, "set", content));
end

function methods:retract(node, actor, item_id, notify) --> true | false, err
	return result(ask(self, actor, "set", pubsub()
		:tag("retract", { node = node, notify = notify and "true" or nil }):tag("item", { id = item_id }):up():up()));
end

-- Appends the items of an answer, newest first. There are older ones before the first id while the count is not reached.
local function read_items(reply, into) --> how many, count of all, first id | nil
	local tag = reply:get_child("pubsub", xmlns_pubsub);
	local items = tag and tag:get_child("items", xmlns_pubsub);
	local page = {};
	for item in items and items:childtags("item") or function () end do
		table.insert(page, 1, item);
	end
	for _, item in ipairs(page) do
		table.insert(into, item);
	end
	local set = tag and tag:get_child("set", xmlns_rsm);
	return #page, set and tonumber(set:get_child_text("count")) or #into, set and set:get_child_text("first");
end

-- Newest first, as util.pubsub gives them; named items in the order of the names.
function methods:get_items(node, actor, ids, resultspec) --> true, { id, ..., [id] = item } | false, err
	ids = type(ids) == "string" and { ids } or ids;
	local limit = resultspec and resultspec.max;
	local found, before = {}, nil;
	local size, total;
	repeat
		local content = pubsub():tag("items", { node = node, max_items = limit and not ids and ("%d"):format(limit) or nil });
		for _, item_id in ipairs(ids or {}) do
			content:tag("item", { id = item_id }):up();
		end
		content:up();
		if before then
			content:tag("set", { xmlns = xmlns_rsm }):text_tag("before", before):up();
		end
		local reply, err = ask(self, actor, "get", content);
		if not reply then
			return false, err;
		end
		size, total, before = read_items(reply, found);
	until ids or limit or size == 0 or #found >= total or not before
	local data = {};
	for i = 1, #found do
		local item = found[ids and #found + 1 - i or i];
		if not (limit and #data >= limit) then
			table.insert(data, item.attr.id);
			data[item.attr.id] = item;
		end
	end
	return true, data;
end

function methods:get_last_item(node, actor) --> true, id, item | true, nil | false, err
	local ok, items = self:get_items(node, actor, nil, { max = 1 });
	if not ok then
		return false, items;
	end
	return true, items[1], items[items[1]];
end

-- Subscriptions and affiliations

function methods:add_subscription(node, actor, subscriber, options) --> true | false, err
	local content = pubsub():tag("subscribe", { node = node, jid = subscriber }):up();
	if type(options) == "table" and next(options) ~= nil then
		content:tag("options"):add_child(fields.to_subscribe_form(options)):up();
	end
	return result(ask(self, actor, "set", content));
end

function methods:remove_subscription(node, actor, subscriber) --> true | false, err
	return result(ask(self, actor, "set", pubsub():tag("unsubscribe", { node = node, jid = subscriber }):up()));
end

local function collect(list, reply, xmlns, node)
	local subscriptions = reply:find("{" .. xmlns .. "}pubsub/subscriptions");
	for subscription in subscriptions:childtags("subscription") do
		local attr = subscription.attr;
		if attr.subscription == nil or attr.subscription == "subscribed" then
			table.insert(list, { node = attr.node or node, jid = attr.jid, subscription = true });
		end
	end
end

function methods:get_subscriptions(node, actor, subscriber) --> true, { { node, jid, subscription }, ... } | false, err
	local list = {};
	if subscriber then
		-- What somebody is subscribed to, that somebody may see.
		local privileged = actor == true or jid.bare(actor) == jid.bare(subscriber);
		local reply, err = ask(self, privileged and subscriber or actor, "get", pubsub():tag("subscriptions", { node = node }):up());
		if not reply then
			return false, err;
		end
		collect(list, reply, xmlns_pubsub, node);
		return true, list;
	end
	local nodes = { [node or false] = true };
	if not node then
		local ok, all = self:get_nodes(actor);
		if not ok then
			return false, all;
		end
		nodes = all;
	end
	for name in pairs(nodes) do
		local reply, err = ask(self, actor, "get", pubsub(xmlns_owner):tag("subscriptions", { node = name }):up());
		if reply then
			collect(list, reply, xmlns_owner, name);
		elseif node then
			return false, err;
		end
	end
	return true, list;
end

function methods:get_subscription(node, actor, subscriber) --> true, subscription | true, nil | false, err
	local ok, list = self:get_subscriptions(node, actor, subscriber);
	if not ok then
		return false, list;
	end
	for _, subscription in ipairs(list) do
		if subscription.jid == subscriber then
			return true, subscription.subscription;
		end
	end
	return true, nil;
end

function methods:set_affiliation(node, actor, who, affiliation) --> true | false, err
	return result(ask(self, actor, "set", pubsub(xmlns_owner):tag("affiliations", { node = node })
		:tag("affiliation", { jid = who, affiliation = affiliation or "none" }):up():up()));
end

function methods:get_affiliations(node) --> { jid -> affiliation }
	local affiliations = {};
	local reply = ask(self, true, "get", pubsub(xmlns_owner):tag("affiliations", { node = node }):up());
	local list = reply and reply:find("{" .. xmlns_owner .. "}pubsub/affiliations");
	for tag in list and list:childtags("affiliation") or function () end do
		affiliations[tag.attr.jid] = tag.attr.affiliation;
	end
	return affiliations;
end

function methods:get_affiliation(who, node) --> affiliation | nil
	return self:get_affiliations(node)[jid.bare(who)];
end

function methods:jids_equal(one, other) -- luacheck: ignore 212/self
	return jid.bare(one) == jid.bare(other);
end

-- Notifications that a module makes itself

-- Sends an event to the given addresses.
local function broadcaster(service, kind, node, jids, item)
	local message = st.message({ from = service.jid, type = "headline" }):tag("event", { xmlns = xmlns_event })
		:tag(kind == "retract" and "items" or kind, { node = node });
	if item then
		item = st.clone(item);
		item.attr.xmlns, item.attr.publisher = nil, nil;
		message:add_child(item);
	end
	for address in pairs(jids) do
		local copy = st.clone(message);
		copy.attr.to, copy.attr.id = address, id.medium();
		module:send(copy);
	end
end

-- Tells the interested about an item without keeping it. Who is interested, the engine knows: publishing on a node that
-- keeps nothing reaches them.
function methods:broadcast(kind, node, subscribers, item, actor)
	if kind == "items" and item then
		local ok, config = self:get_node_config(node, true);
		if ok and config.persist_items == false then
			return self:publish(node, true, item.attr.id or "current", item);
		end
	end
	return broadcaster(self, kind, node, subscribers or {}, item, actor);
end

-- Services

local function new_service(address)
	local service;
	service = setmetatable({
		jid = address;
		events = events.new();
		config = {
			jid = address;
			normalize_jid = jid.bare;
			expose_publisher = module:get_option_boolean("expose_publisher", false);
			broadcaster = function (kind, node, jids, item)
				return broadcaster(service, kind, node, jids, item);
			end;
		};
		node_defaults = {};
	}, service_mt);
	-- Nodes by name as they are now; get_nodes() lists them.
	service.nodes = setmetatable({}, {
		__index = function (_, node)
			if node ~= nil and service:get_node_config(node, true) then
				return node_object(service, node);
			end
		end;
		__pairs = function ()
			local ok, nodes = service:get_nodes(true);
			return next, ok and nodes or {}, nil;
		end;
	});
	return service;
end

local services = cache.new(1000);

local function service_for(address) --> service
	local service = services:get(address);
	if not service then
		service = new_service(address);
		services:set(address, service);
	end
	return service;
end

-- Tells the handlers of a service what the engine did. `payload` is a function.
local function fire(service, name, node, item_id, actor, payload)
	local on, about_node = service.events, nil;
	if name == "item-published" then
		about_node = "item-published/" .. node;
	end
	if not on.get_handlers(name) and not (about_node and on.get_handlers(about_node)) then
		return; -- nobody listens
	end
	local event = { service = service, node = node, actor = actor, id = item_id };
	if name == "item-published" then
		local item = payload();
		if item and not (item.name == "item" and item.attr.xmlns == xmlns_pubsub) then
			item = st.stanza("item", { xmlns = xmlns_pubsub, id = item_id }):add_child(item);
		end
		event.item = item;
		on.fire_event(about_node, event);
	elseif name == "subscription-added" or name == "subscription-removed" then
		event.jid = actor;
		event.normalized_jid = actor ~= true and jid.bare(actor) or nil;
	end
	on.fire_event(name, event);
end

return {
	fire = fire;
	new_service = new_service;
	service_for = service_for;
};
