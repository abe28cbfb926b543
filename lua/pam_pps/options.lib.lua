-- The settings of this module, and those of the modules that it replaces, in the words of the engine.

local config = require "core.configmanager";

local prefix = "pam_pps_";

-- Of the process.
local of_engine = { "database", "commit", "cache_size", "max_stanza_bytes", "request_timeout", "seed" };

-- Of each host and component.
local of_service = {
	"create_nodes", "check_interval", "auto_subscribe", "auto_subscribe_expiry", "journal",
	"journal_max_events", "journal_max_bytes",
	"journal_expiry", "eventing", "max_nodes", "max_bytes", "max_subscriptions", "max_items";
	"room_publish", "conference_info", "default_node_config", "force_node_config", "ignore_pep_from_offline", "max_nodes_discoitems";
	"max_subscriptions_node";
};

-- Those that are tables: settings of nodes, and tables of settings for nodes whose names fit a pattern.
local of_nodes = { default_node_config = true, force_node_config = true };

-- Settings of the replaced modules, with their types there.
local inherited = {
	component = {
		autocreate_on_publish = "boolean", autocreate_on_subscribe = "boolean", expose_publisher = "boolean";
		default_admin_affiliation = "string";
	};
	accounts = {};
	rooms = {};
};
local max_items = { component = "pubsub_max_items", accounts = "pep_max_items" };

local known = {};
for _, list in ipairs({ of_engine, of_service }) do
	for _, name in ipairs(list) do
		known[prefix .. name] = true;
	end
end
known[prefix .. "import"] = true;
known[prefix .. "batch_size"] = true;

-- A setting with our prefix that we do not know is a mistake in writing.
local function check_names(host)
	local all = config.getconfig();
	for _, section in ipairs({ "*", host }) do
		for name in pairs(all[section] or {}) do
			if type(name) == "string" and name:sub(1, #prefix) == prefix and not known[name] then
				error(("unknown option '%s'"):format(name), 0);
			end
		end
	end
end

local function plain(name, value) --> string | number | boolean
	if type(value) == "table" then
		error(("option '%s' does not take a list"):format(name), 0);
	end
	return value;
end

local function setting(lines, name, value)
	if type(name) ~= "string" or not name:find("^[%l_]+$") then
		error(("'%s' is no option of a node"):format(tostring(name)), 0);
	end
	for _, one in ipairs(type(value) == "table" and value or { value }) do
		lines[#lines + 1] = name .. "=" .. tostring(one):gsub("%s+", " ");
	end
end

local function is_settings(value)
	return type(value) == "table" and #value == 0;
end

local function sorted(settings)
	local names = {};
	for name in pairs(settings) do
		names[#names + 1] = name;
	end
	-- A longer pattern says more; tables have no order of their own.
	table.sort(names, function (a, b)
		a, b = tostring(a), tostring(b);
		if #a ~= #b then return #a > #b; end
		return a < b;
	end);
	return names;
end

-- { max_items = 10, ["urn:x:*"] = { access_model = "open" } } as the engine reads it.
local function node_settings(settings) --> string
	local lines = {};
	local names = sorted(settings);
	for _, name in ipairs(names) do
		if not is_settings(settings[name]) then
			setting(lines, name, settings[name]);
		end
	end
	for _, pattern in ipairs(names) do
		if is_settings(settings[pattern]) then
			lines[#lines + 1] = "[" .. tostring(pattern) .. "]";
			for _, name in ipairs(sorted(settings[pattern])) do
				setting(lines, name, settings[pattern][name]);
			end
		end
	end
	return table.concat(lines, "\n");
end

local function engine_options() --> table
	local options = {};
	for _, name in ipairs(of_engine) do
		local value = config.get("*", prefix .. name);
		if value ~= nil then
			options[name] = plain(prefix .. name, value);
		end
	end
	local file = options.database or "pam_pps.sqlite";
	if file ~= "memory" and not file:find("^/") and not file:find("://", 1, true) then
		file = prosody.paths.data .. "/" .. file;
	end
	options.database = file;
	return options;
end

-- Stanzas that are sent, or shown to the engine, before the loop is handed back.
local function batch_size() --> number
	local value = config.get("*", prefix .. "batch_size") or 100;
	if type(value) ~= "number" or value < 1 or value ~= math.floor(value) then
		error(("option '%sbatch_size' is a whole number from 1"):format(prefix), 0);
	end
	return value;
end

local function service_options(kind) --> table
	local options = { events = true, import = kind ~= "rooms" and module:get_option_boolean("pam_pps_import", true) };
	for name, type in pairs(inherited[kind]) do
		if module:get_option(name) ~= nil then
			options[name] = module["get_option_" .. type](module, name);
		end
	end
	if kind == "component" then
		options.name = module:get_option_string("name", "Prosody PubSub Service");
	end
	if max_items[kind] and module:get_option(max_items[kind]) ~= nil then
		options.max_items = module:get_option_number(max_items[kind]);
	end
	for _, name in ipairs(of_service) do
		local value = module:get_option(prefix .. name);
		if of_nodes[name] and type(value) == "table" then
			options[name] = node_settings(value);
		elseif value ~= nil then
			options[name] = plain(prefix .. name, value);
		end
	end
	return options;
end

return {
	batch_size = batch_size;
	check_names = check_names;
	engine_options = engine_options;
	node_settings = node_settings;
	service_options = service_options;
};
