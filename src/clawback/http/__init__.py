"""What every HTTP door shares: errors as answers, allowances, streams of news."""
