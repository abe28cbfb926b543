-- What only the host knows: accounts, rosters, administrators, block lists.

local jid = require "util.jid";
local rostermanager = require "core.rostermanager";
local usermanager = require "core.usermanager";

local facts = {};

function facts.account(account) --> boolean
	local username, host = jid.split(account);
	return username ~= nil and host == module.host and usermanager.user_exists(username, host) or false;
end

-- How `contact` stands in the roster of `owner`, who may be offline.
function facts.roster(owner, contact) --> subscription, { group, ... }
	local username, host = jid.split(owner);
	if not username or host ~= module.host or not usermanager.user_exists(username, host) then
		return "none";
	end
	local roster = rostermanager.load_roster(username, host);
	local item = roster and roster[contact];
	if not item then
		return "none";
	end
	local groups = {};
	for group in pairs(item.groups or {}) do
		table.insert(groups, group);
	end
	table.sort(groups);
	local subscription = item.subscription;
	if subscription ~= "to" and subscription ~= "from" and subscription ~= "both" then
		subscription = "none";
	end
	return subscription, groups;
end

if module.could then -- Prosody 13: roles and permissions
	module:default_permission("prosody:admin", ":service-admin");
	function facts.admin(who) --> boolean
		return module:could(":service-admin", jid.bare(who)) == true;
	end
else
	function facts.admin(who) --> boolean
		return usermanager.is_admin(jid.bare(who), module.host) == true;
	end
end

-- The list of mod_blocklist, from the storage that it writes through.
local blocklists = module:open_store("blocklist");
function facts.blocked(owner, contact) --> boolean
	local username = jid.split(owner);
	local list = username and blocklists:get(username);
	if not list then
		return false;
	end
	return (list[contact] or list[jid.bare(contact)] or list[jid.host(contact)] or list[jid.host(contact) .. "/"
		.. (jid.resource(contact) or "")]) and true or false;
end

return facts;
