package countersign_test

import data.countersign

# base is a request that nothing is wrong with; each test changes what it is about.
base := {
	"subject": {"issuer": "https://ci.example", "name": "repo:1"},
	"service_account": {
		"name": "deployer",
		"owners": ["olga"],
		"actions": ["deploy", "rotate-key", "read-data", "unlock"],
		"audiences": ["https://cloud.example", "https://vault.example"],
		"scopes": ["deploy", "deploy:production", "keys"],
		"labels": {},
	},
	"trigger": {"kind": "person", "person": "tim"},
	"request": {
		"action": "deploy",
		"resource": "shop",
		"audience": "https://cloud.example",
		"scopes": ["deploy"],
		"ttl": "5m0s",
		"ttl_seconds": 300,
		"reason": "release 1.2",
		"context": {
			"environment": "production",
			"risk": "",
			"diff": {"files": 1, "added": 2, "removed": 1, "paths": ["main.go"]},
			"checks": [{"name": "tests", "status": "passed"}],
			"tickets": [],
			"labels": {},
		},
	},
	"facts": {"event_name": "push"},
	"now": "2026-01-02T03:04:05Z",
}

# asked is base with a patch (RFC 6902) applied.
asked(patches) := json.patch(base, patches)

set(path, value) := {"op": "add", "path": path, "value": value}

decide(patches) := decision if {
	decision := countersign.decision with input as asked(patches)
}

env(name) := set("/request/context/environment", name)

# proved is an environment that the token proves as well.
proved(name) := [env(name), set("/facts/environment", name)]

action(name) := set("/request/action", name)

risk(word) := set("/request/context/risk", word)

checks(statuses) := set("/request/context/checks", [{"name": sprintf("check%d", [i]), "status": s} | some i, s in statuses])

denied_for(patches, part) if {
	decision := decide(patches)
	decision.effect == "deny"
	some reason in decision.reasons
	contains(reason, part)
}

reviewed_for(patches, part) if {
	decision := decide(patches)
	decision.effect == "review"
	some reason in decision.reasons
	contains(reason, part)
}

test_data_has_no_faults if count(countersign.faults) == 0

test_production_deploy_needs_release if {
	decide([]) == {
		"effect": "review",
		"reasons": {"deploy in production needs a review"},
		"stages": [{"name": "release", "approvers": {"groups": ["release"], "people": []}, "quorum": 1}],
		"scopes": ["deploy"],
		"audience": "https://cloud.example",
		"max_ttl": "15m",
		"channels": ["approvals"],
		"notify": [],
		"deadline": "1h",
		"risk": "high",
	}
}

test_critical_production_deploy_needs_two if {
	decision := decide([risk("critical")])
	decision.stages[0].quorum == 2
	decision.risk == "critical"
	"the risk is critical" in decision.reasons
}

test_caller_cannot_lower_the_risk if decide([risk("low")]).risk == "high"

test_big_change_needs_two if {
	every patch in [
		set("/request/context/diff/files", 50),
		set("/request/context/diff/added", 999),
	] {
		decision := decide([patch])
		decision.stages[0].quorum == 2
		decision.risk == "critical"
	}
}

test_almost_big_change_needs_one if {
	decide([set("/request/context/diff/files", 49), set("/request/context/diff/added", 998)]).stages[0].quorum == 1
}

test_listed_path_needs_two if {
	decision := decide([]) with data.config.raise.paths as ["main"]
	decision.stages[0].quorum == 2
	"the change touches main.go" in decision.reasons
}

test_unlisted_path_needs_one if {
	decision := decide([]) with data.config.raise.paths as ["migrations/"]
	decision.stages[0].quorum == 1
}

test_unmapped_trigger_does_not_change_the_quorum if {
	decide([set("/trigger", {"kind": "unmapped", "name": "someone"})]).stages[0].quorum == 1
}

test_schedule_is_normal if decide([set("/trigger", {"kind": "none"})]).effect == "review"

test_routine_environments_are_pre_approved if {
	every name in ["dev", "development", "test", "testing", "qa", "staging"] {
		decide(proved(name)).effect == "allow"
	}
}

test_pre_approval_is_whole if {
	decide(proved("staging")) == {
		"effect": "allow",
		"reasons": ["deploy in staging is routine and pre-approved"],
		"scopes": ["deploy"],
		"audience": "https://cloud.example",
		"max_ttl": "15m",
		"notify": [],
		"risk": "low",
	}
}

test_big_staging_deploy_is_routine if {
	decide(array.concat(proved("staging"), [set("/request/context/diff/files", 500)])).effect == "allow"
}

test_staging_deploy_without_checks_is_routine if decide(array.concat(proved("staging"), [checks([])])).effect == "allow"

test_staging_deploy_with_failed_check_needs_a_review if {
	reviewed_for([env("staging"), checks(["passed", "failed"])], "check check1 failed")
}

test_grave_staging_deploy_needs_a_review if reviewed_for([env("staging"), risk("high")], "the risk is high")

test_low_risk_with_passed_checks_is_pre_approved if {
	every patches in [proved("staging"), [env("")]] {
		decide(array.concat(patches, [action("unlock"), risk("low")])).effect == "allow"
	}
}

test_low_risk_without_passed_checks_needs_a_review if {
	every statuses in [[], ["passed", "skipped"], ["pending"], ["failed"]] {
		decide([action("unlock"), env("staging"), risk("low"), checks(statuses)]).effect == "review"
	}
}

test_big_change_of_low_risk_needs_a_review if {
	reviewed_for([action("unlock"), env("staging"), risk("low"), set("/request/context/diff/files", 50)], "touches 50 files")
}

test_unnamed_risk_needs_a_review if decide([action("unlock"), env("staging")]).effect == "review"

test_low_risk_in_production_needs_a_review if {
	decision := decide([action("unlock"), risk("low")])
	decision.effect == "review"
	decision.stages[0].approvers.groups == ["approvers"]
}

test_key_rotation_needs_two_of_security if {
	every name in ["production", "staging", ""] {
		decision := decide([action("rotate-key"), env(name), risk("low")])
		decision.effect == "review"
		decision.stages[0].approvers.groups == ["security"]
		decision.stages[0].quorum == 2
		decision.max_ttl == "5m"
		decision.deadline == "24h"
	}
}

test_data_access_needs_data_owners if {
	every name in ["production", "staging", ""] {
		decision := decide([action("read-data"), env(name), risk("low")])
		decision.effect == "review"
		decision.stages[0].approvers.groups == ["data-owners"]
	}
}

test_protected_scope_makes_staging_production if {
	decision := decide([env("staging"), set("/request/scopes", ["deploy:production"])])
	decision.effect == "review"
	decision.risk == "high"
	"scope deploy:production counts as production" in decision.reasons
}

test_listed_scope_makes_staging_production if {
	decision := decide([env("staging")]) with data.config.protected.scopes as ["deploy"]
	decision.effect == "review"
}

test_listed_audience_makes_staging_production if {
	decision := decide([env("staging")]) with data.config.protected.audiences as ["https://cloud.example"]
	decision.effect == "review"
	"audience https://cloud.example counts as production" in decision.reasons
}

test_proved_environments if {
	every patches in [
		[env("staging"), set("/facts/environment", "staging")],
		[env("staging"), set("/service_account/labels/environment", "staging")],
		[env(""), set("/facts/environment", "staging")],
	] {
		decide(patches).effect == "allow"
	}
}

test_claimed_environment_needs_a_review if reviewed_for([env("staging")], "nothing proves the environment")

test_claimed_environment_where_data_asks_for_no_proof if {
	decision := decide([env("staging")]) with data.config.require_proved_environment as false
	decision.effect == "allow"
}

test_only_audience_is_chosen if {
	patches := [set("/request/audience", ""), set("/service_account/audiences", ["https://cloud.example"])]
	decide(patches).audience == "https://cloud.example"
}

test_only_audience_is_protected if {
	patches := [env("staging"), set("/request/audience", ""), set("/service_account/audiences", ["https://cloud.example"])]
	decision := decide(patches) with data.config.protected.audiences as ["https://cloud.example"]
	"audience https://cloud.example counts as production" in decision.reasons
}

test_decision_without_credential_needs_no_audience if {
	decision := decide([set("/request/audience", ""), set("/request/scopes", [])])
	decision.effect == "review"
	decision.audience == ""
}

test_explicit_stages if {
	two := [
		{"name": "team", "approvers": {"groups": ["team"]}, "quorum": 1},
		{"name": "release", "approvers": {"people": ["ada"]}, "quorum": 1, "distinct": true},
	]
	decision := decide([]) with data.config.rules.deploy.production.stages as two
	decision.stages == two
}

test_nothing_is_decided_without_config if {
	decision := decide([]) with data.config as {}
	decision.effect == "deny"
}
