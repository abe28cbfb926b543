-- Takes the data of mod_pep and mod_pubsub over, through Prosody's storage API, so from any storage driver.
-- What was there stays where it is.

local datetime = require "util.datetime";
local jid = require "util.jid";
local st = require "util.stanza";
local storagemanager = require "core.storagemanager";
local usermanager = require "core.usermanager";

local engine = module:require "engine";
local fields = module:require "fields";

local xmlns_import = "urn:pam_pps:import:1";

-- What a node without the setting had there.
local defaults = {
	pep = {
		max_items = 1, persist_items = true, access_model = "presence", publish_model = "publishers";
		send_last_published_item = "on_sub_and_presence";
	};
	pubsub = {
		max_items = 20, persist_items = true, access_model = "open", publish_model = "publishers";
		send_last_published_item = "never";
	};
};

local function with_defaults(config, origin)
	local full = {};
	for name, value in pairs(defaults[origin]) do full[name] = value; end
	for name, value in pairs(config or {}) do full[name] = value; end
	return full;
end

-- The old nodes: name -> { config, subscribers, affiliations }
local function old_nodes(username) --> table | nil, err
	if username then
		local data, err = module:open_store("pep"):get(username);
		if not data then
			return not err and {} or nil, err;
		end
		local nodes = {};
		for name, node in pairs(data) do
			nodes[name] = type(node) == "table" and node or {}; -- earlier versions kept nothing but `true`
		end
		return nodes;
	end
	local store = module:open_store("pubsub_nodes");
	local nodes = {};
	local iterate, names, first = store:users();
	if not iterate then
		return not names and nodes or nil, names;
	end
	for name in iterate, names, first do
		local node, err = store:get(name);
		if not node and err then
			return nil, err;
		end
		nodes[name] = node;
	end
	return nodes;
end

local function old_items(username, name) --> iterator | nil, err
	local kind = username and "pep" or "pubsub";
	local driver = storagemanager.get_driver(module.host, kind .. "_data");
	local archive, err = driver:open(kind .. "_" .. name, "archive");
	if not archive then
		return nil, err;
	end
	return archive:find(username, {});
end

local function build_node(username, name, node) --> element, number of items | nil, err
	local origin = username and "pep" or "pubsub";
	local config = with_defaults(node.config, origin);
	local element = st.stanza("node", { xmlns = xmlns_import, name = name });
	element:add_child(fields.to_form(config));
	for account, affiliation in pairs(node.affiliations or {}) do
		element:tag("affiliation", { jid = account, affiliation = affiliation }):up();
	end
	for subscriber, subscribed in pairs(node.subscribers or {}) do
		element:tag("subscription", { jid = subscriber, subscription = "subscribed" });
		if type(subscribed) == "table" and next(subscribed) then
			element:add_child(fields.to_subscribe_form(subscribed));
		end
		element:up();
	end
	local count = 0;
	if config.persist_items then
		local items, err = old_items(username, name);
		if not items and err and err ~= "item-not-found" then
			return nil, err;
		end
		for id, payload, when, publisher in items or function () end do
			count = count + 1;
			payload.attr.xmlns = payload.attr.xmlns or "http://jabber.org/protocol/pubsub"; -- that of the item it was in
			element:tag("item", { id = id, publisher = publisher, published = datetime.datetime(when) })
				:add_child(payload):up();
		end
	end
	return element, count;
end

-- The data of one service in the form that the engine takes. --> stanza, how many nodes | nil, err
local function build(service)
	local username = jid.node(service);
	local nodes, err = old_nodes(username);
	if not nodes then
		return nil, err;
	end
	local document = st.stanza("import", { xmlns = xmlns_import, service = service });
	local names = {};
	for name in pairs(nodes) do
		table.insert(names, name);
	end
	table.sort(names);
	for _, name in ipairs(names) do
		local element;
		element, err = build_node(username, name, nodes[name]);
		if not element then
			return nil, ("node %s: %s"):format(name, err);
		end
		document:add_child(element);
	end
	return document, #names;
end

-- The answer to the engine's question: true when there is nothing (more) to take over.
local function import(service) --> boolean
	local document, count = build(service);
	if not document then
		module:log("error", "The old data of %s could not be read, it will be tried again: %s", service, count);
		return false;
	elseif count == 0 then
		return true;
	end
	local ok, reply = engine.handle("import", document);
	local report = ok and reply and reply:match("^<imported%s") and engine.state.binding.parse(reply);
	if not report then
		module:log("error", "The old data of %s could not be taken over, it will be tried again: %s", service, reply);
		return false;
	end
	module:log("info", "Took over the data of %s: %s nodes, %s items, %s subscriptions", service,
		report.attr.nodes or "?", report.attr.items or "?", report.attr.subscriptions or "?");
	return true;
end

-- All services of this host, one per turn of the loop. report(done, service, ok) after each; report(total) at the end.
local function import_all(service_for, report)
	local services = {};
	if module:get_host_type() == "component" then
		table.insert(services, module.host);
	else
		for username in usermanager.users(module.host) do
			table.insert(services, username .. "@" .. module.host);
		end
	end
	local done = 0;
	local function step()
		done = done + 1;
		local service = services[done];
		if not service then
			report(#services);
			return nil;
		end
		-- The first touch of a service takes its data over.
		local ok = service_for(service):get_nodes(true);
		report(done, service, ok, #services);
		return 0.001;
	end
	module:add_timer(0, step);
end

return {
	build = build;
	import = import;
	import_all = import_all;
};
