-- mod_pubsub for the modules that depend on it, on the engine of mod_pam_pps.

if module:get_host_type() ~= "component" then
	error("mod_pubsub is a component", 0);
end

local pam_pps = module:depends "pam_pps";

service = pam_pps.new_service(module.host);

function get_service() --> service
	return service;
end

-- The engine is the service; only its handlers can be changed.
function set_service() --> false, err
	return false, "not-allowed";
end

function pam_pps.on_event(name, _, node, item_id, actor, payload)
	pam_pps.fire(service, name, node, item_id, actor, payload);
end

function module.unload()
	pam_pps.on_event = false;
end

-- Prosody 13: commands of its shell.
if module.could then
	module:require("commands").add_commands(function (address)
		return assert(assert(prosody.hosts[address], "Unknown pubsub service").modules.pubsub, "Not a pubsub service").service;
	end);
end
