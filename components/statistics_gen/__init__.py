"""StatisticsGen: describes every split of the examples."""
