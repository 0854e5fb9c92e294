# For HRNet's original weights: input and decoding are theirs, the
# training is MMPose's.
_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_hrnet-w48_8xb32-210e_coco-256x192.py',
    '../../../_base_/lpn_imports.py'
]

# codec settings: the plain maximum and the original's quarter offset
codec = dict(type='BetaSoftArgmaxHeatmap', beta=None)

# model settings
model = dict(head=dict(decoder=codec))
