-- Commands for administrators in Prosody's shell. What they say is the engine's word, the same on every server.
--
--   prosodyctl shell pam_pps list_nodes pubsub.example.org       Prosody 13
--   prosodyctl shell, then pam_pps:list_nodes("pubsub.example.org")   Prosody 0.12

local jid = require "util.jid";
local promise = require "util.promise";

local engine = module:require "engine";
local import = module:require "import";

local host = module.host;

local service = { name = "service", type = "string" };
local node = { name = "node", type = "string" };
local account = { name = "account", type = "string" };
local this_host = { name = "host", type = "string" };

-- Name, arguments (the first says which host is meant), meaning.
local commands = {
	{ "list_nodes", { service }, "List the nodes of a component or an account with access model, items and subscribers" };
	{ "delete_node", { service, node }, "Delete a node and tell its subscribers" };
	{ "publish", { service, node, { name = "payload", type = "string" } }, "Publish an item as the service itself" };
	{ "list_subscriptions", { service, node }, "List the subscriptions to a node" };
	{ "end_subscription", { service, node, { name = "jid", type = "string" } }, "End the subscriptions of a JID to a node" };
	{ "list_pam", { account }, "List what an account is subscribed to (XEP-0376)" };
	{ "list_public", { account }, "List what an account is publicly subscribed to (XEP-0465)" };
	{ "list_public_subscribers", { service, node }, "List who is publicly subscribed to a node (XEP-0465)" };
	{ "statistics", { this_host }, "Figures of the engine" };
	{ "integrity_check", { this_host }, "Look for damage in the database; requests wait meanwhile" };
	{ "vacuum", { this_host }, "Give the room of what was deleted back to the disk; requests wait meanwhile" };
	{ "import", { this_host }, "Take the data of mod_pep or mod_pubsub over, for all accounts of a host or for a component" };
};

local function print_lines(session, text) --> how many
	local count = 0;
	for line in text:gmatch("[^\n]+") do
		session.print(line);
		count = count + 1;
	end
	return count;
end

-- Gives the words to the engine. --> promise of what the shell says at the end
local function ask(session, words)
	return promise.new(function (resolve, reject)
		local ok, err = engine.submit("command", table.concat(words, "\t"), nil, true, function (reply)
			if not reply then
				reject("The engine refuses that; the log says why");
			elseif reply:sub(1, 7) == "error: " then
				reject(reply:sub(8));
			else
				resolve(("%d lines"):format(print_lines(session, reply)));
			end
		end);
		if not ok then
			reject(err);
		end
	end);
end

local own = {};

function own.statistics(session)
	local text, err = engine.state.engine:statistics();
	if not text then
		return false, err;
	end
	return true, ("%d lines"):format(print_lines(session, text));
end

local function run(service_for, session, name, arguments, words)
	for i, argument in ipairs(arguments) do
		local word = words[i];
		if type(word) ~= "string" or word == "" or word:find("[%c]") then
			return false, ("Missing or wrong argument '%s'; arguments: %s"):format(argument.name, (function ()
				local names = {};
				for _, one in ipairs(arguments) do table.insert(names, one.name); end
				return table.concat(names, ", ");
			end)());
		end
	end
	if words[#arguments + 1] ~= nil then
		return false, "Too many arguments";
	end
	if own[name] then
		return own[name](session);
	elseif name == "import" then
		import.import_all(service_for, function (done, address, ok, total)
			if address then
				session.print(("%d/%d %s %s"):format(done, total, address, ok and "done" or "failed, see the log"));
			else
				session.print(("%d services are up to date"):format(done));
			end
		end);
		return true, "Started";
	end
	local line = { (name:gsub("_", "-")) };
	if arguments[1] ~= this_host then
		for i = 1, #arguments do
			line[i + 1] = words[i];
		end
	end
	return ask(session, line);
end

local function add(service_for)
	-- Prosody 0.12: one table for all hosts; each command looks for the host.
	local console = module:shared("/*/admin_shell/env");
	local section = console.pam_pps or {};
	console.pam_pps = section;
	local by_host = module:shared("/*/pam_pps/commands");
	by_host[host] = {};

	for _, command in ipairs(commands) do
		local name, arguments, meaning = command[1], command[2], command[3];
		local function handler(self, ...)
			return run(service_for, self.session, name, arguments, { ... });
		end
		by_host[host][name] = handler;
		section[name] = function (self, first, ...)
			local handlers = by_host[type(first) == "string" and jid.host(first) or false];
			if not handlers then
				return false, ("'%s' is not on a host that mod_pam_pps serves"):format(tostring(first));
			end
			return handlers[name](self, first, ...);
		end
		-- Prosody 13.
		module:add_item("shell-command", {
			section = "pam_pps", section_desc = "Publish-subscribe by libpam_pps";
			name = name, desc = meaning, args = arguments, host_selector = arguments[1].name;
			handler = handler;
		});
	end
end

local function remove()
	module:shared("/*/pam_pps/commands")[host] = nil;
end

return { add = add, remove = remove };
