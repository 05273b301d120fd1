/* subjects.c: MMLU's 57 subjects in the four categories of its paper (arXiv 2009.03300, and the authors' evaluation
 * code, whose finer fields are put together here). */
#include "task.h"

#include <stdlib.h>
#include <string.h>

const char *const woqi_mmlu_categories[WOQI_CATEGORIES] = {"STEM", "humanities", "social sciences", "other"};

enum category { STEM, HUMANITIES, SOCIAL_SCIENCES, OTHER };

static const struct subject {
    const char *name;
    enum category category;
} subjects[] = { /* sorted */
    {"abstract_algebra", STEM},
    {"anatomy", OTHER},
    {"astronomy", STEM},
    {"business_ethics", OTHER},
    {"clinical_knowledge", OTHER},
    {"college_biology", STEM},
    {"college_chemistry", STEM},
    {"college_computer_science", STEM},
    {"college_mathematics", STEM},
    {"college_medicine", OTHER},
    {"college_physics", STEM},
    {"computer_security", STEM},
    {"conceptual_physics", STEM},
    {"econometrics", SOCIAL_SCIENCES},
    {"electrical_engineering", STEM},
    {"elementary_mathematics", STEM},
    {"formal_logic", HUMANITIES},
    {"global_facts", OTHER},
    {"high_school_biology", STEM},
    {"high_school_chemistry", STEM},
    {"high_school_computer_science", STEM},
    {"high_school_european_history", HUMANITIES},
    {"high_school_geography", SOCIAL_SCIENCES},
    {"high_school_government_and_politics", SOCIAL_SCIENCES},
    {"high_school_macroeconomics", SOCIAL_SCIENCES},
    {"high_school_mathematics", STEM},
    {"high_school_microeconomics", SOCIAL_SCIENCES},
    {"high_school_physics", STEM},
    {"high_school_psychology", SOCIAL_SCIENCES},
    {"high_school_statistics", STEM},
    {"high_school_us_history", HUMANITIES},
    {"high_school_world_history", HUMANITIES},
    {"human_aging", OTHER},
    {"human_sexuality", SOCIAL_SCIENCES},
    {"international_law", HUMANITIES},
    {"jurisprudence", HUMANITIES},
    {"logical_fallacies", HUMANITIES},
    {"machine_learning", STEM},
    {"management", OTHER},
    {"marketing", OTHER},
    {"medical_genetics", OTHER},
    {"miscellaneous", OTHER},
    {"moral_disputes", HUMANITIES},
    {"moral_scenarios", HUMANITIES},
    {"nutrition", OTHER},
    {"philosophy", HUMANITIES},
    {"prehistory", HUMANITIES},
    {"professional_accounting", OTHER},
    {"professional_law", HUMANITIES},
    {"professional_medicine", OTHER},
    {"professional_psychology", SOCIAL_SCIENCES},
    {"public_relations", SOCIAL_SCIENCES},
    {"security_studies", SOCIAL_SCIENCES},
    {"sociology", SOCIAL_SCIENCES},
    {"us_foreign_policy", SOCIAL_SCIENCES},
    {"virology", OTHER},
    {"world_religions", HUMANITIES},
};

static int by_name(const void *key, const void *subject)
{
    return strcmp(key, ((const struct subject *)subject)->name);
}

const char *woqi_mmlu_category(const char *subject)
{
    const struct subject *s =
        bsearch(subject, subjects, sizeof subjects / sizeof *subjects, sizeof *subjects, by_name);
    return s ? woqi_mmlu_categories[s->category] : NULL;
}
