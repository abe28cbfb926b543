-- Node configuration: the names and types of util.pubsub on one side, the fields of XEP-0060's form on the other.

local st = require "util.stanza";

local xmlns_subscribe_options = "http://jabber.org/protocol/pubsub#subscribe_options";
local xmlns_node_config = "http://jabber.org/protocol/pubsub#node_config";

-- Where the name is not that of the field.
local vars = {
	include_payload = "deliver_payloads";
	notify_items = "deliver_notifications";
	payload_type = "type";
};
local names = {};
for name, var in pairs(vars) do
	names[var] = name;
end

local booleans = {
	deliver_notifications = true, deliver_payloads = true, notify_config = true, notify_delete = true, notify_retract = true;
	notify_sub = true, persist_items = true, presence_based_delivery = true, purge_offline = true, subscribe = true;
	tempsub = true;
};
local lists = {
	children = true, contact = true, roster_groups_allowed = true, children_association_whitelist = true, collection = true;
};
local numbers = { children_max = true, item_expire = true, max_items = true, max_payload_size = true };

local function to_value(value) --> text
	if type(value) == "boolean" then
		return value and "1" or "0";
	elseif type(value) == "number" then
		return ("%d"):format(value);
	end
	return tostring(value);
end

-- { title = "...", persist_items = true, ... } as a submitted form
local function to_form(config, form_type) --> stanza
	local form = st.stanza("x", { xmlns = "jabber:x:data", type = "submit" })
		:tag("field", { var = "FORM_TYPE", type = "hidden" }):text_tag("value", form_type or xmlns_node_config):up();
	for name, value in pairs(config) do
		if type(name) == "string" and name:sub(1, 1) ~= "_" then
			form:tag("field", { var = "pubsub#" .. (vars[name] or name) });
			for _, v in ipairs(type(value) == "table" and value or { value }) do
				form:text_tag("value", to_value(v));
			end
			form:up();
		end
	end
	return form;
end

local function from_values(var, values)
	if lists[var] then
		return values;
	elseif booleans[var] then
		return values[1] == "1" or values[1] == "true";
	elseif numbers[var] then
		return tonumber(values[1]) or values[1];
	end
	return table.concat(values, "\n");
end

-- A form as such a table; fields without a value are absent.
local function from_form(form) --> table
	local config = {};
	for field in form:childtags("field") do
		local var = (field.attr.var or ""):match("^pubsub#(.*)$");
		local values = {};
		for value in field:childtags("value") do
			table.insert(values, value:get_text() or "");
		end
		if var and values[1] then
			config[names[var] or var] = from_values(var, values);
		end
	end
	return config;
end

-- Options of a subscription by their names in the form. A textual copy of the payload is a matter of the module that made
-- it, and the engine has none: the wish for it is left out.
local function to_subscribe_form(options) --> stanza
	local form = st.stanza("x", { xmlns = "jabber:x:data", type = "submit" })
		:tag("field", { var = "FORM_TYPE", type = "hidden" }):text_tag("value", xmlns_subscribe_options):up();
	for var, value in pairs(options) do
		if type(var) == "string" and var ~= "pubsub#include_body" then
			form:tag("field", { var = var }):text_tag("value", to_value(value)):up();
		end
	end
	return form;
end

return {
	from_form = from_form;
	to_subscribe_form = to_subscribe_form;
	to_form = to_form;
};
