-- The ad-hoc command (XEP-0050) by which administrators of a chat service publish as one of its rooms.

local adhoc = module:require "adhoc"; -- of mod_adhoc
local dataforms = require "util.dataforms";
local jid = require "util.jid";
local new_simple_form = require "util.adhoc".new_simple_form;
local xml = require "util.xml";

local node = "urn:pam_pps:publish-as-room";

local form = dataforms.new({
	title = "Publish as a room";
	instructions = "Publishes an item as the room itself: everyone in it who asked for events of the node is told.";
	{ name = "FORM_TYPE", type = "hidden", value = node };
	{ name = "room", type = "jid-single", label = "The room", required = true };
	{ name = "node", type = "text-single", label = "The node", required = true };
	{ name = "id", type = "text-single", label = "The item's identifier; one is made if there is none" };
	{ name = "payload", type = "text-multi", label = "The payload, as XML", required = true };
});

local function failed(why)
	return { status = "completed", error = { message = why } };
end

-- `publish` as in rooms.lib.lua.
local function add(publish)
	module:depends("adhoc");
	module:provides("adhoc", adhoc.new("Publish as a room", node, new_simple_form(form, function (fields, errors)
		if errors then
			local name, why = next(errors);
			return failed(("%s: %s"):format(name, why));
		end
		local payload, why = xml.parse(fields.payload);
		if not payload then
			return failed("The payload is no XML: " .. tostring(why));
		end
		local room = jid.prep(fields.room);
		local id, condition = publish(room, fields.node, payload, fields.id);
		if not id then
			return failed(("%s does not take it: %s"):format(room, condition));
		end
		return { status = "completed", info = ("Published %s"):format(id) };
	end), "admin"));
end

return { add = add };
