-- Runs the specs named on the command line with busted, under whichever Lua runs this file.
-- PAM_PPS_BUILD: the folder of the bindings; PROSODY: where Prosody's own util.* are (its stanzas are the reference).
local build = os.getenv("PAM_PPS_BUILD") or "build";
local prosody = os.getenv("PROSODY") or "/usr/lib/prosody";
local version = _VERSION:match("%d%.%d");

package.path = prosody .. "/?.lua;" .. package.path;
if not package.searchpath("lxp", package.cpath) then
	print("lua-expat is needed to compare with Prosody's parser");
	os.exit(1);
end
-- Prosody's C modules are built for one Lua: elsewhere its stanzas only need to know what UTF-8 is.
package.preload["util.encodings"] = function ()
	return { utf8 = { valid = function () return true; end } };
end

function _G.load_binding()
	local open = assert(package.loadlib(build .. "/pam_pps_lua-" .. version .. ".so", "luaopen_pam_pps_lua"));
	return open();
end

require "busted.runner" ({ standalone = false });
