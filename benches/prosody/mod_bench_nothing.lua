-- The least that a pubsub component can do, for benches/run.py: what is left is the price of the server itself.
--
-- Every request is answered at once. Who subscribes is put into a list, and a publish sends one notification to each on
-- it: one stanza is built and addressed anew for each.

local st = require "util.stanza";

local subscribers = {};

module:hook("iq/host", function (event)
	local origin, stanza = event.origin, event.stanza;
	local pubsub = stanza:get_child("pubsub", "http://jabber.org/protocol/pubsub");
	if not pubsub then return; end
	local subscribe = pubsub:get_child("subscribe");
	if subscribe then
		subscribers[#subscribers + 1] = subscribe.attr.jid;
	end
	origin.send(st.reply(stanza));
	local publish = pubsub:get_child("publish");
	if publish and subscribers[1] then
		local message = st.message({ from = module.host, type = "headline" })
			:tag("event", { xmlns = "http://jabber.org/protocol/pubsub#event" })
			:tag("items", { node = publish.attr.node })
			:add_child(publish:get_child("item"));
		for number = 1, #subscribers do
			message.attr.to, message.attr.id = subscribers[number], "n-" .. number;
			module:send(message);
		end
	end
	return true;
end, 1000);
