# Package countersign is Countersign's default policy. It decides from the input
# and from data.config alone, and its rule is that absence denies: whatever no
# rule covers is refused, with a reason.
#
# Rules look things up by key or compare with plain equality, so that the time
# of a decision does not grow with the number of service accounts or rules.
package countersign

default decision := {
	"effect": "deny",
	"reasons": ["the policy has no rule for this request"],
}

decision := {
	"effect": "deny",
	"reasons": denials,
	"risk": risk,
} if {
	count(denials) > 0
} else := {
	"effect": "allow",
	"reasons": [pre_approval],
	"scopes": input.request.scopes,
	"audience": audience,
	"max_ttl": terms.max_ttl,
	"notify": terms.notify,
	"risk": risk,
} if {
	pre_approval
} else := {
	"effect": "review",
	"reasons": review_reasons,
	"stages": stages,
	"scopes": input.request.scopes,
	"audience": audience,
	"max_ttl": terms.max_ttl,
	"channels": terms.channels,
	"notify": terms.notify,
	"deadline": terms.deadline,
	"risk": risk,
}

# pre_approval is why no person is needed. It is undefined where one is.
pre_approval := sprintf("%s%s is routine and pre-approved", [input.request.action, where]) if {
	not sensitive
	input.request.context.risk in terms.pre_approve.risks
	checks_satisfy[terms.pre_approve.checks]
	environment_trusted
	size_satisfies
	count(untrusted_runs) == 0
}

# A change that raises the terms is not routine, unless the rule says any size is.
size_satisfies if not raised

size_satisfies if terms.pre_approve.any_size

# Skipped and pending checks have not passed.
checks_satisfy["none_failed"] if count(failed_checks) == 0

checks_satisfy["all_passed"] if {
	count(input.request.context.checks) > 0
	every check in input.request.context.checks {
		check.status == "passed"
	}
}

# The environment of a request is the caller's word. Where data asks for proof,
# the token or the operator's label must name it too.
environment_trusted if not data.config.require_proved_environment

# Without any, there is nothing to prove: the tier is none.
environment_trusted if environment == ""

environment_trusted if {
	data.config.require_proved_environment
	environment != ""
	environment == input.facts.environment
}

environment_trusted if {
	data.config.require_proved_environment
	environment != ""
	environment == input.service_account.labels.environment
}

review_reasons contains sprintf("%s%s needs a review", [input.request.action, where])

review_reasons contains sprintf("%s counts as %s", [thing, tier]) if some thing in protected_things

review_reasons contains sprintf("the risk is %s", [input.request.context.risk]) if {
	input.request.context.risk in {"high", "critical"}
}

review_reasons contains sprintf("check %s failed", [name]) if some name in failed_checks

review_reasons contains why if some why in raise_reasons

review_reasons contains sprintf("%s is never pre-approved", [run]) if some run in untrusted_runs

review_reasons contains "nothing proves the environment" if {
	terms.pre_approve
	not environment_trusted
}

# An explicit list of stages wins over the one that groups, people and quorum make.
stages := explicit if explicit := terms.stages

else := [{
	"name": terms.stage,
	"approvers": {"groups": terms.groups, "people": terms.people},
	"quorum": terms.quorum,
}]
