-- mod_pep for the modules that depend on it, on the engine of mod_pam_pps.

local cache = require "util.cache";
local jid = require "util.jid";
local usermanager = require "core.usermanager";

local pam_pps = module:depends "pam_pps";

local host = module.host;
local services;

-- Modules attach their handlers to a service when its item appears.
local items = {};
services = cache.new(module:get_option_number("pep_service_cache_size", 1000), function (username)
	local item = items[username];
	items[username] = nil;
	if item then
		module:remove_item("pep-service", item);
	end
end);

function get_pep_service(username) --> service
	local service = services:get(username);
	if service then
		return service;
	end
	local address = jid.join(username, host);
	service = pam_pps.new_service(address);
	if usermanager.user_exists(username, host) then
		services:set(username, service);
		items[username] = { service = service, jid = address };
		module:add_item("pep-service", items[username]);
	end
	return service;
end

-- The engine checks configurations itself.
function check_node_config() --> boolean
	return true;
end

function pam_pps.on_event(name, address, node, item_id, actor, payload)
	local username = jid.node(address);
	if username then
		pam_pps.fire(get_pep_service(username), name, node, item_id, actor, payload);
	end
end

module:hook_global("user-deleted", function (event)
	if event.host == host and items[event.username] then
		module:remove_item("pep-service", items[event.username]);
		items[event.username] = nil;
		services:set(event.username, nil);
	end
end);

function module.unload()
	pam_pps.on_event = false;
end

-- Prosody 13: commands of its shell.
if module.could then
	module:require("mod_pubsub/commands").add_commands(function (address)
		return get_pep_service((jid.split(address)));
	end);
end
