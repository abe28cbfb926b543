-- What is announced in service discovery: identities and features, as the engine names them.

local engine = module:require "engine";
local state = engine.state;

local host = module.host;

local function announced(where) --> { identity, ... }, { feature, ... }
	local identities, features = {}, {};
	local text = assert(state.engine:features(host, where));
	for line in text:gmatch("[^\n]+") do
		local category, type, name = line:match("^identity\t([^\t]*)\t([^\t]*)\t?(.*)$");
		if category then
			table.insert(identities, { category = category, type = type, name = name ~= "" and name or nil });
		else
			table.insert(features, line);
		end
	end
	return identities, features;
end

local function start(kind) -- "component" or "accounts"
	local is_component = kind == "component";
	module:depends "disco";
	local identities, features = announced(is_component and "component" or "domain");
	for _, identity in ipairs(identities) do
		module:add_identity(identity.category, identity.type, identity.name);
	end
	for _, feature in ipairs(features) do
		module:add_feature(feature);
	end
	if not is_component then
		local own_identities, own_features = announced("account");
		module:hook("account-disco-info", function (event)
			for _, identity in ipairs(own_identities) do
				event.reply:tag("identity", identity):up();
			end
			for _, feature in ipairs(own_features) do
				event.reply:tag("feature", { var = feature }):up();
			end
		end);
	end
end

return { announced = announced, start = start };
