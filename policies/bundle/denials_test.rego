package countersign_test

import data.countersign

test_action_not_of_the_account if denied_for([action("restart")], "deployer may not ask for restart: its actions are deploy, ")

test_no_actions_at_all if denied_for([set("/service_account/actions", [])], "its actions are none")

test_scope_not_of_the_account if denied_for([set("/request/scopes", ["deploy", "admin"])], "may not have scope admin")

test_audience_not_of_the_account if denied_for([set("/request/audience", "https://evil.example")], "may not use audience")

test_audience_must_be_named if denied_for([set("/request/audience", "")], "name an audience")

test_account_without_audience if {
	denied_for([set("/request/audience", ""), set("/service_account/audiences", [])], "those of deployer are none")
}

test_ttl_must_be_positive if {
	every seconds in [0, -1] {
		denied_for([set("/request/ttl_seconds", seconds)], "the ttl must be more than 0s")
	}
}

test_ttl_over_the_cap if {
	denied_for(
		[action("rotate-key"), set("/request/ttl_seconds", 301), set("/request/ttl", "5m1s")],
		"ttl 5m1s is over the cap: rotate-key in production may have at most 5m",
	)
}

test_ttl_at_the_cap if decide([action("rotate-key")]).effect == "review"

test_unknown_environment if denied_for([env("moon")], "environment moon is unknown")

test_deploy_must_name_its_environment if denied_for([env("")], "deploy must name its environment")

test_tier_without_rule if {
	decision := decide([env("moon")]) with data.config.environments.moon as "lunar"
	decision.effect == "deny"
	"no rule covers deploy in moon" in decision.reasons
}

test_other_tier_than_proved if {
	denied_for([env("staging"), set("/facts/environment", "production")], "the token proves environment production")
}

test_unknown_proved_environment if {
	denied_for([env("staging"), set("/facts/environment", "moon")], "the token proves environment moon")
}

test_same_tier_as_proved if decide([env("staging"), set("/facts/environment", "dev")]).effect == "review"

test_proved_environment_stands_for_a_missing_one if {
	decision := decide([env(""), set("/facts/environment", "production")])
	decision.effect == "review"
	decision.deadline == "1h"
}

test_other_environment_than_the_label if {
	denied_for([set("/service_account/labels/environment", "staging")], "is for environment staging only, and the request says production")
}

test_no_environment_with_a_label if {
	denied_for([action("rotate-key"), env(""), set("/service_account/labels/environment", "staging")], "the request says none")
}

test_same_environment_as_the_label if {
	decide([set("/service_account/labels/environment", "production")]).effect == "review"
}

test_failed_check_in_production if denied_for([checks(["passed", "failed"])], "check check1 failed: production needs")

test_failed_check_behind_a_protected_scope if {
	denied_for([env("staging"), set("/request/scopes", ["deploy:production"]), checks(["failed"])], "check check0 failed")
}

test_pending_check_in_production_needs_a_review if decide([checks(["pending"])]).effect == "review"

test_untrusted_runs if {
	every fact in [
		["event_name", "pull_request_target"],
		["event_name", "pull_request"],
		["event_name", "issue_comment"],
		["pipeline_source", "merge_request_event"],
		["fork", "true"],
	] {
		denied_for(
			[set(sprintf("/facts/%s", [fact[0]]), fact[1])],
			sprintf("a run with %s %s is not trusted with deploy in production", fact),
		)
	}
}

test_untrusted_run_may_not_ask_for_keys if {
	denied_for(
		[action("rotate-key"), env("staging"), set("/facts/event_name", "pull_request_target")],
		"not trusted with rotate-key in staging",
	)
}

test_untrusted_run_is_never_pre_approved if {
	reviewed_for([env("test"), set("/facts/event_name", "pull_request")], "a run with event_name pull_request is never pre-approved")
}

test_run_of_a_fork if {
	denied_for([set("/facts/project_id", "7"), set("/facts/job_project_id", "8")], "a run of a fork")
}

test_run_of_the_project_itself if {
	decide([set("/facts/project_id", "7"), set("/facts/job_project_id", "7")]).effect == "review"
}

test_unknown_trigger if denied_for([set("/trigger", {"kind": "ghost"})], "trigger ghost is unknown")

test_each_fault_has_its_reason if {
	count(decide([
		action("restart"),
		env("moon"),
		set("/request/scopes", ["admin"]),
		set("/request/audience", "x"),
		set("/request/ttl_seconds", 0),
	]).reasons) == 5
}

test_a_rule_that_covers_nothing_denies if {
	decision := decide([action("unlock")]) with data.config.rules.other as {}
	decision.effect == "deny"
}

test_default_denies if {
	decision := countersign.decision with input as {}
	decision.effect == "deny"
}

# What may be wrong with a request, with harmless changes among it.
changes := [
	set("/request/reason", "any"),
	env("staging"),
	env("moon"),
	env(""),
	action("rotate-key"),
	action("restart"),
	risk("critical"),
	checks(["failed"]),
	set("/request/scopes", []),
	set("/request/scopes", ["deploy:production"]),
	set("/request/scopes", ["admin"]),
	set("/request/audience", ""),
	set("/request/audience", "https://evil.example"),
	set("/service_account/audiences", ["https://cloud.example"]),
	set("/request/ttl_seconds", 0),
	set("/request/ttl_seconds", 901),
	set("/facts/environment", "production"),
	set("/facts/event_name", "pull_request"),
	set("/service_account/labels/environment", "staging"),
	set("/trigger", {"kind": "ghost"}),
]

# agrees holds where a request is permitted or there is a reason to deny it, and
# not both.
agrees(patches) if {
	countersign.permitted with input as asked(patches)
	count(countersign.denials) == 0 with input as asked(patches)
}

agrees(patches) if {
	not countersign.permitted with input as asked(patches)
	count(countersign.denials) > 0 with input as asked(patches)
}

test_denied_is_what_is_not_permitted if {
	every first in changes {
		every second in changes {
			agrees([first, second])
		}
	}
}
