package countersign

# permitted is the one test that each request takes: what it does not cover is
# denied. denials says why, and a test makes sure that it always can.
permitted if {
	input.trigger.kind in {"none", "person", "unmapped"}
	input.request.ttl_seconds > 0
	input.request.action in input.service_account.actions
	not foreign_scope
	audience
	environment_tier
	not other_environment
	input.request.ttl_seconds * 1000000000 <= time.parse_duration_ns(terms.max_ttl)
	not refused
}

foreign_scope if {
	some scope in input.request.scopes
	not scope in input.service_account.scopes
}

# other_environment holds where the label or the token names one that does not go
# with the request's.
other_environment if input.service_account.labels.environment != environment

other_environment if {
	input.facts.environment != ""
	not config.environments[input.facts.environment] == environment_tier
}

# refused holds where a failed check or a stranger's run is too much for what is
# asked.
refused if {
	blemished
	refusals != set()
}

# blemished holds where a check failed or the run is a stranger's: what is so is
# never pre-approved, and may be refused.
blemished if input.request.context.checks[_].status == "failed"

blemished if untrusted_runs != set()

# denials are the reasons for which no person is asked: each says what is wrong
# and what to change.

denials contains sprintf("%s may not ask for %s: its actions are %s", [
	input.service_account.name, input.request.action, listed(input.service_account.actions),
]) if {
	not input.request.action in input.service_account.actions
}

denials contains sprintf("%s may not have scope %s: its scopes are %s", [
	input.service_account.name, scope, listed(input.service_account.scopes),
]) if {
	some scope in input.request.scopes
	not scope in input.service_account.scopes
}

denials contains sprintf("%s may not use audience %s: its audiences are %s", [
	input.service_account.name, input.request.audience, listed(input.service_account.audiences),
]) if {
	input.request.audience != ""
	not input.request.audience in input.service_account.audiences
}

denials contains sprintf("name an audience: those of %s are %s", [
	input.service_account.name, listed(input.service_account.audiences),
]) if {
	input.request.audience == ""
	input.request.scopes != []
	not audience
}

denials contains "the ttl must be more than 0s" if input.request.ttl_seconds <= 0

denials contains sprintf("ttl %s is over the cap: %s%s may have at most %s", [
	input.request.ttl, input.request.action, where, terms.max_ttl,
]) if {
	input.request.ttl_seconds * 1000000000 > time.parse_duration_ns(terms.max_ttl)
}

denials contains sprintf("environment %s is unknown: the policy's data must give it a tier", [environment]) if {
	not environment_tier
}

denials contains sprintf("the token proves environment %s, and the request says %s: ask from a run of the same tier", [
	input.facts.environment, environment,
]) if {
	input.facts.environment != ""
	not config.environments[input.facts.environment] == environment_tier
}

denials contains sprintf("%s is for environment %s only, and the request says %s", [
	input.service_account.name, pinned, object.get(named, environment, environment),
]) if {
	pinned := input.service_account.labels.environment
	pinned != environment
}

denials contains sprintf("%s must name its environment", [input.request.action]) if {
	not rule
	environment == ""
}

denials contains sprintf("no rule covers %s%s", [input.request.action, where]) if {
	not rule
	config.environments[environment]
}

denials contains why if some why in refusals

refusals contains sprintf("check %s failed: %s needs checks that do not fail", [check.name, tier]) if {
	some check in input.request.context.checks
	check.status == "failed"
	sensitive
}

refusals contains sprintf("%s is not trusted with %s%s", [run, input.request.action, where]) if {
	some run in untrusted_runs
	guarded
}

denials contains sprintf("trigger %s is unknown: it must be none, person or unmapped", [input.trigger.kind]) if {
	not input.trigger.kind in {"none", "person", "unmapped"}
}

# untrusted_runs says what makes this run one of a stranger's code.
untrusted_runs contains sprintf("a run with %s %s", [fact, input.facts[fact]]) if {
	some fact, values in config.untrusted_runs
	values[input.facts[fact]]
}

# GitLab runs a fork's merge request in the parent project: the two ids differ.
untrusted_runs contains "a run of a fork" if input.facts.project_id != input.facts.job_project_id

# guarded is what a stranger's code must not even ask for: all that is never
# pre-approved.
guarded if sensitive

guarded if not terms.pre_approve

named := {"": "none"}

listed(names) := "none" if count(names) == 0

else := concat(", ", names)
