"""Plain values for templates: what services answer, arranged for one page. They decide nothing."""
