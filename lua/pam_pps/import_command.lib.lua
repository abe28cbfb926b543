-- prosodyctl mod_pam_pps import: where to find the command that does it.
return function ()
	print("The running server takes the data over, so that the engine's file has one user:");
	print("  prosodyctl shell pam_pps import HOST            Prosody 13");
	print("  prosodyctl shell, then pam_pps:import(\"HOST\")   Prosody 0.12");
	return 0;
end;
