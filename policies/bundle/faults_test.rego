package countersign_test

import data.countersign

# faulty applies a patch (RFC 6902) to the bundle's own data.
faulty(patches, part) if {
	faults := countersign.faults with data.config as json.patch(data.config, patches)
	some fault in faults
	contains(fault, part)
}

sound(patches) if {
	faults := countersign.faults with data.config as json.patch(data.config, patches)
	count(faults) == 0
}

test_sound_changes if {
	every patch in [
		set("/environments/moon", "routine"),
		set("/defaults/channels", ["releases", "ops"]),
		set("/rules/deploy/production/max_ttl", "1m30s"),
		set("/rules/deploy/production/people", ["ada"]),
		set("/rules/other/none/stages", [{"name": "a", "approvers": {"people": ["ada"]}, "quorum": 2}]),
		set("/actions/unlock", "deploy"),
	] {
		sound([patch])
	}
}

test_faults_of_config if {
	every pair in [
		[set("/environments", []), "config.environments must be an object"],
		[set("/defaults", "none"), "config.defaults must be an object"],
		[set("/enviroments", {}), "config.enviroments is unknown"],
		[{"op": "remove", "path": "/rules"}, "config.rules is missing"],
		[{"op": "remove", "path": "/rules/other"}, "config.rules.other is missing"],
		[set("/protected/scope", []), "config.protected.scope is unknown"],
		[set("/protected/scopes", "keys"), "config.protected.scopes must be a list"],
		[set("/protected/tier", "routine"), "config.protected.tier is routine"],
		[set("/raise/file", 3), "config.raise.file is unknown"],
		[set("/raise/files", "3"), "config.raise.files must be a number"],
	] {
		faulty([pair[0]], pair[1])
	}
}

test_faults_of_config_2 if {
	every pair in [
		[set("/sensitive_tiers", [""]), "config.sensitive_tiers must be a list"],
		[set("/require_proved_environment", "yes"), "must be true or false"],
		[set("/environments/moon", 3), "config.environments.moon must be the name of a tier"],
		[set("/environments/moon", "any"), "a tier may not be called any"],
		[set("/actions/unlock", "opening"), "config.rules has no such kind"],
		[set("/untrusted_runs/event_name", ["push"]), "config.untrusted_runs.event_name"],
		[set("/untrusted_runs/event_name", {"push": "yes"}), "config.untrusted_runs.event_name"],
		[set("/defaults/chanels", []), "config.defaults: chanels is unknown"],
		[set("/defaults/channels", []), "config.rules.deploy.production: channels must name"],
		[set("/defaults/people", "ada"), "config.defaults: people must be a list"],
	] {
		faulty([pair[0]], pair[1])
	}
}

test_faults_of_config_3 if {
	every pair in [
		[{"op": "remove", "path": "/defaults/groups"}, "config.defaults: groups must be a list"],
	] {
		faulty([pair[0]], pair[1])
	}
}

test_faults_of_terms if {
	every pair in [
		[set("/rules/deploy", "never"), "config.rules.deploy must be an object"],
		[set("/rules/deploy/production", "never"), "config.rules.deploy.production must be an object"],
		[set("/rules/deploy/production/raised", 2), "config.rules.deploy.production.raised must be an object"],
		[set("/rules/deploy/production/max_ttl", "16m"), "config.rules.deploy.production: max_ttl"],
		[set("/rules/deploy/production/max_ttl", "0s"), "config.rules.deploy.production: max_ttl"],
		[set("/rules/deploy/production/max_ttl", 600), "config.rules.deploy.production: max_ttl"],
		[set("/rules/deploy/production/max_ttl", "ten minutes"), "config.rules.deploy.production: max_ttl"],
		[set("/rules/deploy/production/deadline", "200h"), "config.rules.deploy.production: deadline"],
		[set("/rules/deploy/production/risk", "huge"), "config.rules.deploy.production: risk"],
		[set("/rules/deploy/production/owners", "never"), "config.rules.deploy.production: owners"],
	] {
		faulty([pair[0]], pair[1])
	}
}

test_faults_of_terms_2 if {
	every pair in [
		[set("/rules/deploy/production/notify", "ops"), "config.rules.deploy.production: notify"],
		[set("/rules/deploy/production/quorum", 0), "config.rules.deploy.production: quorum"],
		[set("/rules/deploy/production/raised/quorum", 1.5), "config.rules.deploy.production.raised: quorum"],
		[set("/rules/deploy/production/groups", []), "config.rules.deploy.production: groups or people"],
		[set("/rules/deploy/production/stage", ""), "config.rules.deploy.production: stage must be"],
	] {
		faulty([pair[0]], pair[1])
	}
}

test_faults_of_stages_and_pre_approval if {
	every pair in [
		[set("/rules/deploy/production/stages", []), "config.rules.deploy.production: stages must be"],
		[set("/rules/deploy/production/stages", [{"name": "a", "quorum": 1}]), "config.rules.deploy.production: stages must be"],
		[
			set("/rules/deploy/production/stages", [{"name": "a", "approvers": {"people": ["ada"]}, "quorum": 1}]),
			"config.rules.deploy.production.raised: quorum has no effect beside stages",
		],
		[
			set("/rules/deploy/production/pre_approve", {"risks": ["low"], "checks": "all_passed"}),
			"config.rules.deploy.production: a sensitive tier cannot be pre-approved",
		],
		[set("/rules/deploy/routine/pre_approve/size", true), "pre_approve.size is unknown"],
		[set("/rules/deploy/routine/pre_approve/checks", "some"), "pre_approve.checks must be"],
		[set("/rules/deploy/routine/pre_approve/risks", ["tiny"]), "pre_approve.risks must be"],
	] {
		faulty([pair[0]], pair[1])
	}
}

test_missing_config if {
	faults := countersign.faults with data.config as false
	some fault in faults
	contains(fault, "config must be an object")
}
